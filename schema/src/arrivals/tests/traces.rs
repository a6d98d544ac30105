//! Replayed traces and times that are given, exactly.

use std::path::Path;

use proptest::prelude::*;

use super::*;

#[test]
fn a_trace_is_replayed_once_or_again_and_again() {
    let times = [5, 1, 0, 14].map(ms);
    let once = ArrivalsFile::Replay(trace());
    assert_eq!(gaps(&once, 0).collect::<Vec<_>>(), times);
    let again = ArrivalsFile::Replay(ReplayFile {
        repeat: true,
        ..trace()
    });
    let replayed: Vec<_> = gaps(&again, 0).take(10).collect();
    assert_eq!(replayed, [5, 1, 0, 14, 5, 1, 0, 14, 5, 1].map(ms));
}

#[test]
fn requests_come_at_the_times_given_and_not_after() {
    let mut plan = gaps(&times(&[0, 3, 3, 10]), 0);
    assert_eq!(plan.by_ref().collect::<Vec<_>>(), [0, 3, 0, 7].map(ms));
    assert_eq!([(); 3].map(|()| plan.next()), [None; 3]);
    assert_eq!(gaps(&times(&[4]), 0).collect::<Vec<_>>(), [ms(4)]);
    // All at the start.
    assert_eq!(gaps(&times(&[0, 0]), 0).collect::<Vec<_>>(), [ms(0); 2]);
}

#[test]
fn a_trace_without_its_times_is_an_error() {
    let arrivals = ArrivalsFile::Replay(trace());
    for times in [None, Some(Arc::from([]))] {
        let error = Gaps::new(&arrivals, times, Seed(0), "a").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the times of the trace `trace.csv` were not read"
        );
    }
    let error = Gaps::new(&piecewise(&[], true), None, Seed(0), "a").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`piecewise.pieces`: must have at least one, found none"
    );
}

fn read(text: &str, replay: &ReplayFile) -> Result<Vec<SimDuration>, String> {
    replay::parse(Path::new("trace.csv"), text, replay).map_err(|error| error.to_string())
}

#[test]
fn the_times_of_a_trace_are_read_exactly() {
    let two = ReplayFile {
        column: Some("at".to_owned()),
        unit: ReplayUnit::Ms,
        ..trace()
    };
    // Mean gap 20 / 4.
    let expected = Ok(vec![ms(5), ms(5), ms(1), ms(0), ms(14)]);
    let texts = [
        "name,at\na,10\nb,15\nc,16\nd,16\ne,30\n",
        "# a trace\r\n\r\n at , name\r\n10,\r\n15\r\n# half\r\n1.6e1,x\r\n16.0,\r\n+300E-1,\r\n",
        "\u{feff}\"n\"\"a,m\",\"at\"\n\"x,y\",10\n,\"15\"\n\"\" ,16\n,16\n,030",
    ];
    for text in texts {
        assert_eq!(read(text, &two), expected, "{text}");
    }
    // Since 1970, to the nanosecond, where a double has steps of a quarter microsecond.
    let unix = "1700000000.123456789\n1700000000.123456790\n1700000000.123456792\n";
    let ps = [1500, 1000, 2000].map(SimDuration::from_ps).to_vec();
    assert_eq!(read(unix, &trace()), Ok(ps));
    let fine = "0.0000000000004999999999999999999999999999\n0.0000000000005\n.0000000000015\n";
    let ps = [1, 1, 1].map(SimDuration::from_ps).to_vec();
    assert_eq!(read(fine, &trace()), Ok(ps));
}

#[test]
fn a_trace_is_stretched_to_the_rate_asked_for() {
    let text = "arrival_s\n0\n1\n4\n";
    let factor = |factor| ReplayFile {
        rate_factor: Some(factor),
        ..trace()
    };
    assert_eq!(
        read(text, &factor(2.0)),
        Ok([1000, 500, 1500].map(ms).to_vec())
    );
    let rate = |rate| ReplayFile {
        rate: Some(hz(rate)),
        ..trace()
    };
    assert_eq!(read(text, &rate(10.0)), Ok([100, 50, 150].map(ms).to_vec()));
    // Each time is rounded, not each gap: thirds of a picosecond do not add up.
    let many: String = (0..=3000).map(|index| format!("{index}e-12\n")).collect();
    let gaps = read(&many, &factor(3.0)).unwrap();
    assert_eq!(gaps[1..].iter().copied().sum::<SimDuration>().as_ps(), 1000);
}

#[test]
fn what_is_wrong_in_a_trace_is_said_with_line_and_column() {
    let error = |text: &str| read(text, &trace()).unwrap_err();
    let of = |column: &str, text: &str| {
        let column = Some(column.to_owned());
        read(text, &ReplayFile { column, ..trace() }).unwrap_err()
    };
    assert_eq!(
        error("t\n0\n# x\n1.5x\n"),
        "trace.csv:4: `t`: must be a decimal number of seconds from 0, found `1.5x`"
    );
    assert_eq!(
        error("0\nnan\n"),
        "trace.csv:2: `column 1`: must be a decimal number of seconds from 0, found `nan`"
    );
    assert_eq!(
        error("nan\n0\n"),
        "trace.csv:1: `column 1`: must be a decimal number of seconds from 0, found `nan`"
    );
    assert_eq!(
        error("0\n-1\n"),
        "trace.csv:2: `column 1`: must be a decimal number of seconds from 0, found `-1`"
    );
    assert_eq!(
        error("t,n\n1,a\n3,b\n2,c\n"),
        "trace.csv:4: `t`: must not be less than `3` in line 3, found `2`"
    );
    assert_eq!(
        of("arival_s", "id,arrival_s\n1,2\n"),
        "trace.csv:1: `arival_s`: the header, the first line, has no such column, \
         did you mean `arrival_s`? (allowed: id, arrival_s)"
    );
    assert_eq!(
        of("arrival_s", "id,arrival_s\n1,2\n2\n"),
        "trace.csv:3: `arrival_s`: must be in every row, found 1 of 2 fields"
    );
    assert_eq!(
        error("t\n\"1\n"),
        "trace.csv:2: `t`: must end every quoted field in its line, found `\"1`"
    );
    assert_eq!(
        error("t\n\"1\"2\n"),
        "trace.csv:2: `t`: must have a comma after every quoted field, found `\"1\"2`"
    );
    assert_eq!(
        error("t\n1e40\n"),
        "trace.csv:2: `t`: must fit 128 bits of picoseconds, found `1e40`"
    );
    assert_eq!(
        error("# nothing\n"),
        "trace.csv: `column 1`: must have at least 2 rows, found 0"
    );
    assert_eq!(
        error("t\n5\n"),
        "trace.csv: `t`: must have at least 2 rows, found 1"
    );
    assert_eq!(
        error("t\n5\n5.0\n"),
        "trace.csv: `t`: the last time must be later than the first, found the same in every row"
    );
    assert_eq!(
        error("t\n0\n2e7\n"),
        "trace.csv: `t`: the trace must fit 213 days of the run, found 2.000e7 s"
    );
    let faster = ReplayFile {
        rate_factor: Some(2.0),
        ..trace()
    };
    assert!(read("t\n0\n2e7\n", &faster).is_ok());
    let missing = read_replay(Path::new("no/such.csv"), &trace()).unwrap_err();
    assert_eq!(missing.to_string(), "failed to read no/such.csv");
}

proptest! {
    #[test]
    fn any_text_is_a_trace_or_refused_without_panic(
        text in "([-+0-9.eE]{0,6}|[a-z#\" ]{0,3}|,|\n|[0-9]{30,45}|.){0,30}",
        factor in proptest::option::of(1e-30f64..1e30),
        rate in proptest::option::of(1e-6f64..1e12),
        is_named in any::<bool>(),
    ) {
        let replay = ReplayFile {
            column: is_named.then(|| "a".to_owned()),
            rate_factor: factor,
            rate: rate.and_then(Frequency::from_per_second),
            ..trace()
        };
        let _ = replay::parse(Path::new("trace.csv"), &text, &replay);
    }

    #[test]
    fn gaps_add_up_to_the_times_given(
        mut at in prop::collection::vec(prop_oneof![0u64..50, any::<u64>()], 1..30),
    ) {
        at.sort_unstable();
        let arrivals = ArrivalsFile::Times {
            at: at.iter().copied().map(SimDuration::from_ps).collect(),
            connections: 16,
        };
        let mut now = 0;
        let found: Vec<u64> = gaps(&arrivals, 0)
            .map(|gap| {
                now += gap.as_ps();
                now
            })
            .collect();
        prop_assert_eq!(found, at);
    }

    #[test]
    fn gaps_of_a_trace_add_up_to_its_times(steps in prop::collection::vec(0u64..5000, 1..30)) {
        prop_assume!(steps.iter().any(|step| *step > 0));
        let mut at = 1_000_000;
        let mut text = format!("{at}\n");
        for step in &steps {
            at += step;
            text.push_str(&format!("{at}\n"));
        }
        let replay = ReplayFile { unit: ReplayUnit::Ns, ..trace() };
        let gaps = replay::parse(Path::new("trace.csv"), &text, &replay).unwrap();
        let expected: Vec<_> = steps.iter().map(|step| SimDuration::from_ns(*step)).collect();
        prop_assert_eq!(&gaps[1..], &expected[..]);
    }
}
