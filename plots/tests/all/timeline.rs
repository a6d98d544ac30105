//! The lanes of a run, as a Gantt chart and as trace events.

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use plots::{Lanes, PlotError, View, chrome, gantt};
use schema::run::{Run, SpanName, Status};
use serde_json::Value;

use crate::fixtures::{gpu_run, run};

pub(crate) const WHOLE: View = View {
    replication: 0,
    from_ns: None,
    to_ns: None,
};

fn window(from_us: u64, to_us: u64) -> View {
    View {
        from_ns: Some(1_000 * from_us),
        to_ns: Some(1_000 * to_us),
        ..WHOLE
    }
}

fn bars(run: &Run, view: &View, lanes: Lanes) -> String {
    gantt::draw("gantt", run, view, lanes).unwrap().csv
}

fn events(run: &Run, view: &View) -> String {
    let mut bytes = Vec::new();
    chrome::write(run, view, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The complete events.
fn complete(text: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(text).unwrap();
    let all = all["traceEvents"].as_array().unwrap();
    all.iter()
        .filter(|event| event["ph"] == "X")
        .cloned()
        .collect()
}

/// Many requests on one context, in batches and with gaps, some of which overlap.
fn busy_run() -> Run {
    let mut run = gpu_run();
    let first = run.trace.clone();
    for shift in 1..40 {
        run.trace.extend(first.iter().map(|span| {
            let mut span = *span;
            let by = shift * 37_001;
            let seq = span.request.seq() + 2 * shift as u32;
            span.request = schema::ids::RequestId::new(span.request.client(), seq);
            span.batch += 2 * shift as u32;
            span.ready_ns += by;
            span.start_ns += by;
            span.end_ns += by;
            span
        }));
    }
    run
}

#[test]
fn lanes_are_grouped_by_host_and_gpu() {
    assert_snapshot!(bars(&gpu_run(), &WHOLE, Lanes::Devices), @"host,device,lane,row,span,name,stage,batch,requests,bytes,ready_s,start_s,end_s
server,GPU 0,h2d,0,h2d,h2d,classify,0,clients-0/0#0,600000,0.00001,0.00001,0.00002
server,GPU 0,h2d,1,h2d,h2d,classify,0,clients-0/1#0,600000,0.00001,0.00002,0.00003
server,GPU 0,h2d,0,h2d,h2d,classify,1,clients-0/0#1,600000,0.0001,0.0001,0.00011
server,GPU 0,p2p,0,p2p,p2p,classify,0,clients-0/0#0 clients-0/1#0,1000000,0.00005,0.00005,0.00006
server,GPU 0,classify 0,0,kernel,conv,classify,0,clients-0/0#0 clients-0/1#0,0,0.00003,0.000031,0.00005
server,GPU 0,classify 1,0,inference,inference,classify,1,clients-0/0#1,0,0.00011,0.00011,0.00017
server,GPU 1,d2h,0,d2h,d2h,classify,0,clients-0/0#0,4000,0.00008,0.00008,0.000084
server,GPU 1,d2h,1,d2h,d2h,classify,0,clients-0/1#0,4000,0.00008,0.000084,0.000088
server,GPU 1,d2h,0,d2h,d2h,classify,1,clients-0/0#1,4000,0.00017,0.00017,0.000174
server,GPU 1,classify 0,0,kernel,kernel-2,classify,0,clients-0/0#0 clients-0/1#0,0,0.00006,0.000062,0.000079");
}

#[test]
fn hosts_and_waiting_lines_are_shown_if_asked_for() {
    let few = bars(&gpu_run(), &WHOLE, Lanes::Devices);
    let all = bars(&gpu_run(), &WHOLE, Lanes::All);
    let lines: BTreeSet<&str> = few.lines().collect();
    let more: Vec<&str> = all.lines().filter(|line| !lines.contains(line)).collect();
    assert_snapshot!(more.join("\n"), @"edge,,request,0,request,request,classify,,clients-0/0#0,0,0,0,0.000095
edge,,request,1,request,request,classify,,clients-0/1#0,0,0.000001,0.000001,0.000095
edge,,request,0,request,request,classify,,clients-0/0#1,0,0.000096,0.000097,0.000175
edge,,send,0,send,send,classify,,clients-0/0#0,600000,0,0,0.000004
edge,,send,1,send,send,classify,,clients-0/1#0,600000,0.000001,0.000001,0.000004
server,,classify queue,0,queue,queue,classify,,clients-0/0#0,0,0.000005,0.00001,0.00001
server,,classify queue,1,queue,queue,classify,,clients-0/1#0,0,0.000006,0.00001,0.00001");
}

#[test]
fn stages_on_cores_have_a_lane_a_context() {
    let mut run = run(&[1_000_000, 2_000_000]);
    let of_name = |name| {
        run.trace
            .iter()
            .map(move |span| schema::run::Span { name, ..*span })
    };
    run.trace = of_name(SpanName::Preprocess).collect();
    assert_snapshot!(bars(&run, &WHOLE, Lanes::Devices), @"host,device,lane,row,span,name,stage,batch,requests,bytes,ready_s,start_s,end_s
edge,,classify,0,preprocess,preprocess,classify,0,clients-0/0#0,0,0,0,0.001
edge,,classify,0,preprocess,preprocess,classify,0,clients-0/0#1,0,0.001,0.001,0.003");
}

#[test]
fn no_two_bars_of_a_row_overlap() {
    let csv = bars(&busy_run(), &WHOLE, Lanes::All);
    let mut rows: BTreeMap<Vec<&str>, Vec<(f64, f64)>> = BTreeMap::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [ready, end] = [fields[10], fields[12]].map(|field| field.parse().unwrap());
        rows.entry(fields[..4].to_vec())
            .or_default()
            .push((ready, end));
    }
    assert!(rows.keys().any(|row| row[3] != "0"), "nothing overlaps");
    for (row, mut bars) in rows {
        bars.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in bars.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{row:?}: {pair:?}");
        }
    }
}

#[test]
fn a_window_has_what_touches_it() {
    let spans = |view| {
        let csv = bars(&gpu_run(), &view, Lanes::Devices);
        let spans = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(5).unwrap().to_owned());
        spans.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(spans(window(55, 61)), "p2p kernel-2");
    assert_eq!(spans(window(120, 130)), "inference");
    // The kernels of a batch stand for its inference even where none of them is.
    let first = WHOLE.of_requests(&gpu_run(), 2);
    assert_eq!(first.to_ns, Some(95_000));
    assert!(!spans(first).contains("inference"));
    let later = window(96, 1_000).of_requests(&gpu_run(), 2);
    assert_eq!((later.from_ns, later.to_ns), (Some(96_000), Some(175_000)));
    assert_eq!(spans(later), "h2d inference d2h");
}

#[test]
fn a_window_far_from_the_start_is_counted_from_its_own() {
    let figure = gantt::draw("g", &busy_run(), &window(1_400, 1_410), Lanes::Devices).unwrap();
    let svg = figure.svg();
    assert!(svg.contains(">\nTime after 1.4 ms (µs)\n<"), "{svg}");
    assert!(svg.contains(">\n10\n<"));
    assert!(figure.caption.contains("from 1.4 ms to 1.41 ms"));
}

#[test]
fn what_failed_is_told_apart() {
    let mut run = gpu_run();
    for span in &mut run.trace {
        span.status = Status::Failed;
    }
    let figure = gantt::draw("g", &run, &WHOLE, Lanes::Devices).unwrap();
    assert!(figure.svg().contains(">\nfailed\n<"));
    let events = complete(&events(&run, &WHOLE));
    assert!(
        events
            .iter()
            .all(|event| event["args"]["status"] == "failed")
    );
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let run = gpu_run();
    let replication = View {
        replication: 3,
        ..WHOLE
    };
    let many = crate::fixtures::run(&vec![1_000; gantt::MAX_BARS + 1]);
    let mut rows = crate::fixtures::run(&vec![1_000; gantt::MAX_ROWS + 1]);
    for span in &mut rows.trace {
        span.end_ns = 1_000_000;
    }
    let errors: Vec<PlotError> = [
        gantt::draw("g", &run, &replication, Lanes::All).map(|_| ()),
        gantt::draw("g", &run, &window(7, 7), Lanes::All).map(|_| ()),
        gantt::draw("g", &run, &window(500, 600), Lanes::All).map(|_| ()),
        gantt::draw("g", &many, &WHOLE, Lanes::All).map(|_| ()),
        gantt::draw("g", &rows, &WHOLE, Lanes::All).map(|_| ()),
        chrome::write(&run, &replication, &mut Vec::new()),
    ]
    .into_iter()
    .map(Result::unwrap_err)
    .collect();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_snapshot!(texts.join("\n"), @"draw figure `g`: `replication` is 3 of 1, counted from 0
draw figure `g`: the window is from 7 us to 7 us; it must end after it starts
draw figure `g`: there is no span in the window
draw figure `g`: there are 20001 bars from 0 ps to 20.001 ms (at most 20000); narrow the window with --from and --to
draw figure `g`: there are 201 rows of bars from 0 ps to 1 ms (at most 200); narrow the window with --from and --to
draw figure `chrome`: `replication` is 3 of 1, counted from 0");
}

#[test]
fn events_of_a_window() {
    assert_snapshot!(events(&gpu_run(), &window(78, 99)), @r#"{"displayTimeUnit":"ns","otherData":{"program":"tandem 0.1.0","replication":0,"scenario":"two-gpus"},"traceEvents":[
{"ph":"M","name":"process_name","pid":1,"tid":0,"args":{"name":"edge"}},
{"ph":"M","name":"process_sort_index","pid":1,"tid":0,"args":{"sort_index":1}},
{"ph":"M","name":"thread_name","pid":1,"tid":1,"args":{"name":"request"}},
{"ph":"M","name":"thread_sort_index","pid":1,"tid":1,"args":{"sort_index":1}},
{"ph":"M","name":"thread_name","pid":1,"tid":2,"args":{"name":"request (2)"}},
{"ph":"M","name":"thread_sort_index","pid":1,"tid":2,"args":{"sort_index":2}},
{"ph":"X","name":"request","cat":"classify","pid":1,"tid":1,"ts":0.000,"dur":95.000,"args":{"class":"default","client":"clients-0/0","request":0,"waiting_us":0.0}},
{"ph":"X","name":"request","cat":"classify","pid":1,"tid":2,"ts":1.000,"dur":94.000,"args":{"class":"default","client":"clients-0/1","request":0,"waiting_us":0.0}},
{"ph":"X","name":"request","cat":"classify","pid":1,"tid":1,"ts":97.000,"dur":78.000,"args":{"class":"default","client":"clients-0/0","request":1,"waiting_us":1.0}},
{"ph":"M","name":"process_name","pid":2,"tid":0,"args":{"name":"server"}},
{"ph":"M","name":"process_sort_index","pid":2,"tid":0,"args":{"sort_index":2}},
{"ph":"M","name":"thread_name","pid":2,"tid":3,"args":{"name":"GPU 0 classify 0"}},
{"ph":"M","name":"thread_sort_index","pid":2,"tid":3,"args":{"sort_index":3}},
{"ph":"X","name":"inference","cat":"classify","pid":2,"tid":3,"ts":30.000,"dur":50.000,"args":{"batch":0,"class":["default","default"],"client":["clients-0/0","clients-0/1"],"context":0,"request":[0,0],"waiting_us":10.0}},
{"ph":"M","name":"thread_name","pid":2,"tid":4,"args":{"name":"GPU 1 d2h"}},
{"ph":"M","name":"thread_sort_index","pid":2,"tid":4,"args":{"sort_index":4}},
{"ph":"X","name":"d2h","cat":"classify","pid":2,"tid":4,"ts":80.000,"dur":4.000,"args":{"batch":0,"bytes":4000,"class":"default","client":"clients-0/0","context":0,"request":0,"waiting_us":0.0}},
{"ph":"X","name":"d2h","cat":"classify","pid":2,"tid":4,"ts":84.000,"dur":4.000,"args":{"batch":0,"bytes":4000,"class":"default","client":"clients-0/1","context":0,"request":0,"waiting_us":4.0}},
{"ph":"M","name":"thread_name","pid":2,"tid":5,"args":{"name":"GPU 1 classify 0"}},
{"ph":"M","name":"thread_sort_index","pid":2,"tid":5,"args":{"sort_index":5}},
{"ph":"X","name":"kernel-2","cat":"classify","pid":2,"tid":5,"ts":62.000,"dur":17.000,"args":{"batch":0,"class":["default","default"],"client":["clients-0/0","clients-0/1"],"context":0,"request":[0,0],"waiting_us":2.0}}
]}"#);
}

#[test]
fn every_span_is_in_one_event() {
    for run in [gpu_run(), busy_run()] {
        let mut spans: Vec<(String, u64, u64)> = Vec::new();
        for span in &run.trace {
            let client = format!(
                "clients-0/{}",
                run.scenario.clients[span.request.client()].index
            );
            let start_ns = if span.name == SpanName::Queue {
                span.ready_ns
            } else {
                span.start_ns
            };
            let request = format!("{client}#{}", span.request.seq());
            spans.push((request, start_ns, span.end_ns));
        }
        let mut found = Vec::new();
        for event in complete(&events(&run, &WHOLE)) {
            let ns = |key: &str| (1e3 * event[key].as_f64().unwrap()).round() as u64;
            let (start_ns, end_ns) = (ns("ts"), ns("ts") + ns("dur"));
            let list = |key: &str| match &event["args"][key] {
                Value::Array(all) => all.clone(),
                only => vec![only.clone()],
            };
            for (client, request) in list("client").iter().zip(list("request")) {
                let request = format!("{}#{request}", client.as_str().unwrap());
                found.push((request, start_ns, end_ns));
            }
        }
        spans.sort();
        found.sort();
        assert_eq!(found, spans);
    }
}

#[test]
fn events_of_a_thread_lie_apart_or_one_in_the_other() {
    let text = events(&busy_run(), &WHOLE);
    let mut threads: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for event in complete(&text) {
        let ns = |key: &str| (1e3 * event[key].as_f64().unwrap()).round() as u64;
        let thread = event["tid"].as_u64().unwrap();
        threads
            .entry(thread)
            .or_default()
            .push((ns("ts"), ns("ts") + ns("dur")));
    }
    for (thread, events) in threads {
        // In the order of the file: by start, the longer first.
        assert!(events.is_sorted_by_key(|(start, end)| (*start, u64::MAX - end)));
        let mut open: Vec<u64> = Vec::new();
        for (start, end) in events {
            while open.last().is_some_and(|last| *last <= start) {
                open.pop();
            }
            assert!(
                open.last().is_none_or(|last| *last >= end),
                "{thread}: {start} {end}"
            );
            open.push(end);
        }
    }
}

#[test]
fn the_order_of_the_trace_does_not_matter() {
    let run = busy_run();
    let mut reversed = run.clone();
    reversed.trace.reverse();
    assert!(events(&run, &WHOLE) == events(&reversed, &WHOLE));
    assert!(bars(&run, &WHOLE, Lanes::All) == bars(&reversed, &WHOLE, Lanes::All));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.json");
    chrome::save(&gpu_run(), &WHOLE, &path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        events(&gpu_run(), &WHOLE)
    );
    let error = chrome::save(&gpu_run(), &WHOLE, dir.path()).unwrap_err();
    assert!(error.to_string().starts_with("write "), "{error}");
}
