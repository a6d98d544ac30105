//! What files say of arrivals: how it is read and printed, its mean rate, and what is refused.

use super::*;

/// A file, as a key of it.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Wrapper {
    arrivals: ArrivalsFile,
}

#[test]
fn files_are_read_with_their_defaults() {
    let parse = |text: &str| toml::from_str::<Wrapper>(text).unwrap().arrivals;
    assert_eq!(
        parse("arrivals = { closed-loop = {} }"),
        ArrivalsFile::ClosedLoop {
            think: Distribution::Constant(SimDuration::ZERO)
        }
    );
    assert_eq!(
        parse("arrivals = { poisson = { rate = '100 /s' } }"),
        poisson(100.0)
    );
    assert_eq!(
        parse("arrivals = { gamma = { rate = '100 /s', cv = 2, connections = 4 } }"),
        ArrivalsFile::Gamma {
            rate: hz(100.0),
            cv: 2.0,
            connections: 4
        }
    );
    assert_eq!(
        parse("arrivals = { renewal = { gap = { exponential = '5 ms' } } }"),
        renewal(Distribution::Exponential(ms(5)))
    );
    let states = "[{ rate = '100 /s', mean-time = '2 s' }, { mean-time = '1 s' }]";
    assert_eq!(
        parse(&format!("arrivals.markov-modulated.states = {states}")),
        modulated(&[(100.0, 2000), (0.0, 1000)])
    );
    let pieces = "[{ rate = '100 /s', for = '2 s' }, { for = '1 s' }]";
    assert_eq!(
        parse(&format!(
            "arrivals = {{ piecewise = {{ pieces = {pieces} }} }}"
        )),
        piecewise(&[(100.0, 2000), (0.0, 1000)], true)
    );
    assert_eq!(
        parse("arrivals = { replay = { file = 'trace.csv' } }"),
        ArrivalsFile::Replay(trace())
    );
    assert_eq!(
        parse("arrivals = { replay = { file = 'trace.csv', unit = 'us', rate-factor = 2 } }"),
        ArrivalsFile::Replay(ReplayFile {
            unit: ReplayUnit::Us,
            rate_factor: Some(2.0),
            ..trace()
        })
    );
    assert_eq!(
        parse("arrivals = { times = { at = ['0 us', '3 ms'] } }"),
        times(&[0, 3])
    );
    let unknown = toml::from_str::<Wrapper>("arrivals.replay = { file = 'a', colum = 'b' }");
    assert!(
        unknown
            .unwrap_err()
            .message()
            .starts_with("unknown field `colum`")
    );
}

#[test]
fn printing_then_parsing_gives_the_process_back() {
    for arrivals in processes() {
        let wrapper = Wrapper { arrivals };
        let text = toml::to_string(&wrapper).unwrap();
        assert_eq!(toml::from_str::<Wrapper>(&text).unwrap(), wrapper, "{text}");
    }
}

#[test]
fn every_process_passes_its_check_and_has_its_mean_rate() {
    for arrivals in processes() {
        assert_eq!(arrivals.check(), Ok(()), "{arrivals:?}");
        let is_known = !matches!(
            arrivals,
            ArrivalsFile::ClosedLoop { .. } | ArrivalsFile::Replay(_) | ArrivalsFile::Times { .. }
        );
        let expected = is_known.then_some(100.0);
        assert_eq!(
            arrivals.mean_rate().map(|rate| (rate * 1e9).round() / 1e9),
            expected,
            "{arrivals:?}"
        );
        let connections = (!arrivals.is_closed_loop()).then_some(16);
        assert_eq!(arrivals.connections(), connections);
    }
}

#[test]
fn what_cannot_be_drawn_from_is_refused_with_its_key() {
    let refused = |arrivals: ArrivalsFile, key: &str, problem: &str| {
        let expected = Err((key.to_owned(), problem.to_owned()));
        assert_eq!(arrivals.check(), expected, "{arrivals:?}");
    };
    let (rate, connections) = (hz(100.0), 16);
    let gamma = |cv| ArrivalsFile::Gamma {
        rate,
        cv,
        connections,
    };
    let hyperexponential = |rate, cv| ArrivalsFile::Hyperexponential {
        rate,
        cv,
        connections,
    };
    let replay = |replay| ArrivalsFile::Replay(replay);
    let at_least_one = "must be at least 1, found 0";
    let none = ArrivalsFile::Poisson {
        rate,
        connections: 0,
    };
    refused(none, "poisson.connections", at_least_one);
    let none = ReplayFile {
        connections: 0,
        ..trace()
    };
    refused(replay(none), "replay.connections", at_least_one);
    let think = Distribution::Gamma {
        mean: ms(1),
        cv: -1.0,
    };
    refused(
        ArrivalsFile::ClosedLoop {
            think: think.clone(),
        },
        "closed-loop.think.gamma.cv",
        "must be more than zero, found -1",
    );
    refused(
        renewal(think),
        "renewal.gap.gamma.cv",
        "must be more than zero, found -1",
    );
    refused(
        poisson(1.5e9),
        "poisson.rate",
        "must be at most 1000000000 /s, found 1500000000 /s",
    );
    refused(gamma(0.0), "gamma.cv", "must be more than zero, found 0");
    refused(
        gamma(f64::NAN),
        "gamma.cv",
        "must be more than zero, found NaN",
    );
    refused(gamma(51.0), "gamma.cv", "must be from 0.01 to 50, found 51");
    refused(
        hyperexponential(rate, 0.9),
        "hyperexponential.cv",
        "must be at least 1, found 0.9",
    );
    let beyond = "a gap could be more than 207 days, which does not fit the clock; \
                  put it into `renewal` with a gap that is `truncated`";
    refused(hyperexponential(hz(1e-3), 50.0), "hyperexponential", beyond);
    refused(
        renewal(Distribution::Constant(SimDuration::ZERO)),
        "renewal.gap",
        "must be more than zero at times, found always zero",
    );
    let pareto = |shape| Distribution::Pareto {
        scale: ms(1),
        shape,
    };
    refused(renewal(pareto(1.1)), "renewal.gap", beyond);
    let truncated = Distribution::Truncated {
        from: ms(0),
        to: ms(1_000_000),
        of: Box::new(pareto(0.9)),
    };
    assert_eq!(renewal(truncated).check(), Ok(()));
    let states = "markov-modulated.states";
    let pieces = "piecewise.pieces";
    let empty = "must have at least one, found none";
    refused(modulated(&[]), states, empty);
    refused(piecewise(&[], true), pieces, empty);
    let silent = "at least one must have a `rate`, found none";
    refused(modulated(&[(0.0, 5)]), states, silent);
    refused(piecewise(&[(0.0, 5), (0.0, 1)], false), pieces, silent);
    let zero = "must be more than zero, found 0 ps";
    refused(
        modulated(&[(1.0, 5), (1.0, 0)]),
        "markov-modulated.states.1.mean-time",
        zero,
    );
    refused(piecewise(&[(1.0, 0)], true), "piecewise.pieces.0.for", zero);
    refused(
        piecewise(&[(1.0, 1), (2e9, 1)], true),
        "piecewise.pieces.1.rate",
        "must be at most 1000000000 /s, found 2000000000 /s",
    );
    refused(
        piecewise(&[(1.0, 10_000_000_000), (1.0, 10_000_000_000)], true),
        "piecewise.pieces.1.for",
        "all together must be at most 213 days",
    );
    refused(times(&[]), "times.at", empty);
    let descending = "must not be less than the one before it, 5 ms; found 4 ms";
    refused(times(&[0, 5, 4]), "times.at.2", descending);
    let none = ArrivalsFile::Times {
        at: vec![ms(0)],
        connections: 0,
    };
    refused(none, "times.connections", at_least_one);
    let both = ReplayFile {
        rate: Some(rate),
        rate_factor: Some(2.0),
        ..trace()
    };
    refused(
        replay(both),
        "replay.rate-factor",
        "only one of `rate` and `rate-factor` may be given, found both",
    );
    let stopped = ReplayFile {
        rate_factor: Some(0.0),
        ..trace()
    };
    refused(
        replay(stopped),
        "replay.rate-factor",
        "must be more than zero, found 0",
    );
    let nameless = ReplayFile {
        file: String::new(),
        ..trace()
    };
    refused(
        replay(nameless),
        "replay.file",
        "must be the name of a file, found none",
    );
}
