//! What is in the files of each figure.

use std::fs;

use plots::curves::{Curve, Curves};
use plots::load_curve::{Load, LoadPoint};
use plots::{Figure, Lanes, Pair, PlotError, accuracy, breakdown, cdf, curves, gantt, load_curve};
use schema::comparison::Metric;
use schema::stats::Estimate;
use schema::summary::Summary;

use crate::fixtures::{gpu_run, row, run, summary};
use crate::timeline::WHOLE;

fn pair<T>(label: &str, measured: T, simulated: T) -> Pair<T> {
    Pair {
        label: label.to_owned(),
        measured: Some(measured),
        simulated: Some(simulated),
    }
}

fn a_breakdown() -> Figure {
    let parts = [("send", 0.003), ("queue", 0.005), ("inference", 0.0207)];
    let measured = summary(&parts);
    let simulated = summary(&parts[1..]);
    breakdown::draw(
        "breakdown",
        &[pair("tcp <raw> & more", &measured, &simulated)],
    )
    .unwrap()
}

fn a_cdf() -> Figure {
    let sample = |n: u32, stretch: f64| -> Vec<f64> {
        (1..=n)
            .rev()
            .map(|i| stretch * f64::from(i) / 1e3)
            .collect()
    };
    let pairs = [
        pair("small", sample(4, 1.0), sample(4, 1.25)),
        pair("large", sample(2000, 1.0), sample(3, 9.0)),
    ];
    cdf::draw("cdf", &pairs).unwrap()
}

fn a_load_curve() -> Figure {
    let runs: Vec<Summary> = [0.02, 0.03, 0.3]
        .iter()
        .map(|mean| summary(&[("inference", *mean)]))
        .collect();
    let point = |load: f64, measured, simulated| LoadPoint {
        load,
        measured,
        simulated,
    };
    let points = [
        point(16.0, None, Some(&runs[2])),
        point(1.0, Some(&runs[0]), Some(&runs[0])),
        point(4.0, Some(&runs[1]), Some(&runs[0])),
    ];
    load_curve::draw("load", Load::Clients, &points).unwrap()
}

fn line(label: &str, points: &[(f64, f64)]) -> Curve {
    Curve {
        label: label.to_owned(),
        points: points.to_vec(),
    }
}

fn sizes() -> Figure {
    let lines = [
        line("tcp", &[(4e3, 1.1e-3), (602_112.0, 1.4e-3), (4e6, 3.2e-3)]),
        line("gdr", &[(4e3, 1.0e-3), (4e6, 2.8e-3)]),
    ];
    curves::draw("sizes", Curves::TimeBySize, &lines).unwrap()
}

fn goodput() -> Figure {
    let lines = [
        line("small", &[(1.0, 1e9), (16.0, 1e8)]),
        line("large", &[(16.0, 2.9e9)]),
    ];
    curves::draw("goodput", Curves::GoodputByClients, &lines).unwrap()
}

fn an_accuracy() -> Figure {
    let mut held_out = row(Metric::Mean, Some(-0.02));
    held_out.run = "runs/b".to_owned();
    held_out.scenario = "b".to_owned();
    held_out.held_out = true;
    let rows = [
        row(Metric::P99, Some(0.07)),
        row(Metric::Mean, Some(0.03)),
        row(Metric::Throughput, Some(2.5)),
        held_out,
    ];
    accuracy::draw("accuracy", &rows).unwrap()
}

fn a_gantt() -> Figure {
    gantt::draw("gantt", &gpu_run(), &WHOLE, Lanes::All).unwrap()
}

/// The rows of a CSV without quoted fields.
fn rows(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().map(|line| line.split(',').collect()).collect()
}

fn number(field: &str) -> f64 {
    field.parse().unwrap()
}

#[test]
fn a_figure_is_the_same_bytes_every_time() {
    for draw in [
        a_breakdown,
        a_cdf,
        a_load_curve,
        sizes,
        goodput,
        an_accuracy,
        a_gantt,
    ] {
        let dirs = [(); 2].map(|()| {
            let dir = tempfile::tempdir().unwrap();
            draw().save(&dir.path().join("figures")).unwrap();
            dir
        });
        let [first, second] = dirs.each_ref().map(|dir| {
            let name = draw().name;
            ["svg", "png", "csv"].map(|ending| {
                let file = dir.path().join("figures").join(format!("{name}.{ending}"));
                fs::read(file).unwrap()
            })
        });
        assert!(first == second, "{}", draw().name);
        assert!(first[1].starts_with(b"\x89PNG"));
    }
}

#[test]
fn curves_have_their_numbers_beside_them() {
    insta::assert_snapshot!(sizes().csv.replace('\n', "; "), @"scenario,payload_bytes,mean_s; tcp,4000,0.0011; tcp,602112,0.0014; tcp,4000000,0.0032; gdr,4000,0.001; gdr,4000000,0.0028;");
    insta::assert_snapshot!(goodput().csv.replace('\n', "; "), @"scenario,clients,goodput_bytes_per_s; small,1,1000000000; small,16,100000000; large,16,2900000000;");
    let refused = |lines: &[Curve]| {
        let drawn = curves::draw("sizes", Curves::TimeBySize, lines);
        drawn.err().unwrap().to_string()
    };
    insta::assert_snapshot!(refused(&[]), @"draw figure `sizes`: there is no scenario");
    insta::assert_snapshot!(refused(&[line("tcp", &[])]), @"draw figure `sizes`: there is no point of `tcp`");
    insta::assert_snapshot!(refused(&[line("tcp", &[(1.0, f64::NAN)])]), @"draw figure `sizes`: a value of `tcp` is NaN");
}

#[test]
fn the_png_is_one_column_wide_at_300_dpi() {
    let dir = tempfile::tempdir().unwrap();
    let [_, png, _] = an_accuracy().save(dir.path()).unwrap();
    let header = fs::read(png).unwrap();
    let width = u32::from_be_bytes(header[16..20].try_into().unwrap());
    assert!((f64::from(width) / 300.0 * 25.4 - plots::WIDTH_MM).abs() < 1e-9);
}

#[test]
fn every_text_is_at_least_7_points() {
    let figures = [
        a_breakdown(),
        a_cdf(),
        a_load_curve(),
        sizes(),
        goodput(),
        an_accuracy(),
        a_gantt(),
    ];
    for figure in figures {
        let svg = figure.svg();
        for text in svg.split("<text").skip(1) {
            let attribute = |name: &str| {
                let start = text.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
                let value = &text[start..];
                number(&value[..value.find('"').unwrap()])
            };
            assert!(attribute("font-size") * 72.0 / 300.0 >= 7.0, "{text}");
        }
    }
}

#[test]
fn an_svg_contains_its_labels() {
    let labels: [(Figure, &[&str]); 5] = [
        (
            a_breakdown(),
            &[
                "tcp &lt;raw&gt; &amp; more",
                "measured",
                "simulated",
                "send",
                "queue",
                "inference",
                "other",
                "end-to-end",
                "Mean time of a request (ms)",
            ],
        ),
        (
            a_cdf(),
            &[
                "small",
                "large",
                "Fraction of requests",
                "End-to-end time (s)",
            ],
        ),
        (
            a_load_curve(),
            &[
                "p50",
                "p99",
                "mean",
                "Number of clients",
                "Requests/s",
                "End-to-end time (ms)",
            ],
        ),
        (
            an_accuracy(),
            &[
                "b, held out",
                "p99",
                "throughput +250.0%",
                "noise",
                "Signed error (%)",
            ],
        ),
        (
            a_gantt(),
            &[
                "edge",
                "server, GPU 0 (a2)",
                "server, GPU 1 (a2)",
                "classify 0",
                "classify queue",
                "conv",
                "inference 0#1",
                "batch",
                "waiting",
                "Time (µs)",
            ],
        ),
    ];
    for (figure, labels) in labels {
        let svg = figure.svg();
        for label in labels {
            assert!(
                svg.contains(&format!(">\n{label}\n<")),
                "{}: {label}",
                figure.name
            );
        }
    }
}

#[test]
fn the_segments_of_a_bar_sum_to_the_end_to_end_mean() {
    let figure = a_breakdown();
    for run in ["measured", "simulated"] {
        let rows = rows(&figure.csv);
        let of_run = rows.iter().filter(|row| row[1] == run);
        let (whole, parts): (Vec<_>, Vec<_>) = of_run.partition(|row| row[2] == "end-to-end");
        let sum: f64 = parts.iter().map(|row| number(row[3])).sum();
        assert!((sum - number(whole[0][3])).abs() < 1e-12, "{run}");
    }
}

#[test]
fn the_bars_are_as_long_as_their_times() {
    // The polygons of the measured bar by colour: send is orange, inference blue.
    let svg = a_breakdown().svg();
    let width = |color: &str| {
        let polygons = svg.lines().filter(|line| line.starts_with("<polygon"));
        let bar = polygons.filter(|line| line.contains(color)).nth(1).unwrap();
        let points = bar.split("points=\"").nth(1).unwrap();
        let xs: Vec<f64> = points
            .split(' ')
            .filter_map(|point| point.split_once(','))
            .map(|(x, _)| number(x))
            .collect();
        xs[1] - xs[0]
    };
    let ratio = width("#0072B2") / width("#E69F00");
    assert!((ratio - 20.7 / 3.0).abs() < 0.1, "{ratio}");
}

#[test]
fn the_csv_of_distributions_holds_every_point() {
    let figure = a_cdf();
    let rows = rows(&figure.csv);
    assert_eq!(rows[0], ["scenario", "run", "end_to_end_s", "fraction"]);
    let small: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row[..2] == ["small", "measured"])
        .map(|row| (number(row[2]), number(row[3])))
        .collect();
    assert_eq!(
        small,
        [(0.001, 0.25), (0.002, 0.5), (0.003, 0.75), (0.004, 1.0)]
    );
    let large: Vec<_> = rows
        .iter()
        .filter(|row| row[..2] == ["large", "measured"])
        .collect();
    assert_eq!(large.len(), 500);
    assert_eq!(large[249][2..], ["1", "0.5"]);
    assert_eq!(large[499][2..], ["2", "1"]);
}

#[test]
fn the_csv_of_a_load_curve_equals_the_summaries() {
    let figure = a_load_curve();
    let rows = rows(&figure.csv);
    assert_eq!(
        rows[0],
        ["clients", "run", "metric", "unit", "value", "low", "high"]
    );
    assert_eq!(rows.len(), 1 + 5 * 4);
    let find = |key: [&str; 3]| {
        let row = rows.iter().find(|row| row[..3] == key).unwrap();
        row[4..].join(",")
    };
    let text = |e: Estimate| format!("{},{},{}", e.value, e.low, e.high);
    let expected = summary(&[("inference", 0.03)]);
    assert_eq!(
        find(["4", "measured", "p99"]),
        text(expected.end_to_end.p99)
    );
    assert_eq!(
        find(["4", "measured", "throughput"]),
        text(expected.throughput)
    );
}

#[test]
fn the_csv_of_errors_equals_the_rows() {
    insta::assert_snapshot!(an_accuracy().csv, @r"
    run,scenario,held_out,saturated,metric,unit,measured,predicted,error,error_low,error_high,noise
    runs/a,a,false,false,mean,s,0.02,0.0206,0.03,-0.01904761904761909,0.08421052631578951,0.01
    runs/a,a,false,false,p99,s,0.02,0.021400000000000002,0.07,0.019047619047619202,0.12631578947368438,0.01
    runs/a,a,false,false,throughput,1/s,0.02,0.07,2.5,2.3333333333333335,2.68421052631579,0.01
    runs/b,b,true,false,mean,s,0.02,0.0196,-0.02,-0.06666666666666676,0.03157894736842115,0.01
    ");
}

#[test]
fn one_load_is_enough_for_a_curve() {
    let run = summary(&[("inference", 0.03)]);
    let point = LoadPoint {
        load: 100.0 / 3.0,
        measured: Some(&run),
        simulated: Some(&run),
    };
    let svg = load_curve::draw("one", Load::OfferedRate, &[point])
        .unwrap()
        .svg();
    assert!(svg.contains(">\n33.3\n<"));
    assert!(svg.contains("Offered rate (requests/s)"));
}

#[test]
fn rows_without_an_error_are_counted() {
    let rows = [row(Metric::Mean, Some(0.1)), row(Metric::Cpu, None)];
    let figure = accuracy::draw("accuracy", &rows).unwrap();
    assert!(
        figure
            .caption
            .ends_with("Not drawn: 1 figures whose measured value is zero.")
    );
}

#[test]
fn an_unbounded_interval_is_left_out() {
    let mut one = summary(&[("inference", 0.02)]);
    one.end_to_end.mean.low = f64::NEG_INFINITY;
    one.end_to_end.mean.high = f64::INFINITY;
    let figure = breakdown::draw("one", &[pair("a", &one, &one)]).unwrap();
    assert!(figure.csv.contains("a,measured,end-to-end,0.021,,\n"));
}

#[test]
fn a_run_gives_the_times_of_its_requests() {
    let times = cdf::end_to_end_s(&run(&[1_000_000, 3_000_000, 2_000_000]));
    assert_eq!(times, [0.001, 0.003, 0.002]);
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let nothing = || Pair::<&Summary> {
        label: "a".to_owned(),
        measured: None,
        simulated: None,
    };
    let mut no_requests = summary(&[("send", 0.1)]);
    no_requests.end_to_end.mean.value = f64::NAN;
    let strange = summary(&[("sned", 0.1)]);
    let no_sample = pair("a", vec![0.1], Vec::new());
    let bare = LoadPoint {
        load: 4.0,
        measured: None,
        simulated: None,
    };
    let errors: Vec<PlotError> = [
        breakdown::draw("f", &[]),
        breakdown::draw("f", &[nothing()]),
        breakdown::draw("f", &[pair("a", &no_requests, &no_requests)]),
        breakdown::draw("f", &[pair("a", &strange, &strange)]),
        cdf::draw("f", &[]),
        cdf::draw("f", &[no_sample]),
        cdf::draw("f", &[pair("a", vec![f64::NAN], vec![0.1])]),
        load_curve::draw("f", Load::Clients, &[]),
        load_curve::draw("f", Load::OfferedRate, &[bare]),
        accuracy::draw("f", &[row(Metric::Mean, None)]),
    ]
    .into_iter()
    .map(Result::unwrap_err)
    .collect();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    draw figure `f`: there is no scenario
    draw figure `f`: there is no run of `a`
    draw figure `f`: the measured mean end-to-end time of `a` is NaN
    draw figure `f`: `sned` of `a` is not the name of a span
    draw figure `f`: there is no scenario
    draw figure `f`: there is no simulated request of `a`
    draw figure `f`: an end-to-end time of `a` is NaN
    draw figure `f`: there is no load
    draw figure `f`: there is no run under the load 4
    draw figure `f`: there is no end-to-end row with an error
    ");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = an_accuracy().save(&file).unwrap_err();
    assert!(error.to_string().starts_with("write ") && error.to_string().ends_with("file"));
}
