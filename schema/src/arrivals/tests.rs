//! Processes against their moments and laws, traces exactly, and what is refused.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::*;
use crate::random::Seed;
use crate::stats::{Estimate, mean_interval};

/// Confidence of each interval, and one less the level of each test, below: some thirty, so that
/// right code fails one in 300 sets of seeds; the seeds are fixed.
const CONFIDENCE: f64 = 0.9999;

/// 0.01% point of √n D for large n (Smirnov, 1948).
const KOLMOGOROV_0_01_PERCENT: f64 = 2.225;

fn ms(ms: u64) -> SimDuration {
    SimDuration::from_ns(ms * 1_000_000)
}

fn hz(hz: f64) -> Frequency {
    Frequency::from_per_second(hz).unwrap()
}

fn poisson(rate: f64) -> ArrivalsFile {
    ArrivalsFile::Poisson {
        rate: hz(rate),
        connections: 16,
    }
}

fn renewal(gap: Distribution) -> ArrivalsFile {
    ArrivalsFile::Renewal {
        gap,
        connections: 16,
    }
}

fn modulated(states: &[(f64, u64)]) -> ArrivalsFile {
    let states = states.iter().map(|&(rate, mean_ms)| StateFile {
        rate: Frequency::from_per_second(rate),
        mean_time: ms(mean_ms),
    });
    ArrivalsFile::MarkovModulated {
        states: states.collect(),
        connections: 16,
    }
}

fn piecewise(pieces: &[(f64, u64)], repeat: bool) -> ArrivalsFile {
    let pieces = pieces.iter().map(|&(rate, length_ms)| PieceFile {
        rate: Frequency::from_per_second(rate),
        length: ms(length_ms),
    });
    ArrivalsFile::Piecewise {
        pieces: pieces.collect(),
        repeat,
        connections: 16,
    }
}

fn trace() -> ReplayFile {
    ReplayFile {
        file: "trace.csv".to_owned(),
        column: None,
        unit: ReplayUnit::S,
        rate_factor: None,
        rate: None,
        repeat: false,
        connections: 16,
    }
}

fn times(at_ms: &[u64]) -> ArrivalsFile {
    ArrivalsFile::Times {
        at: at_ms.iter().copied().map(ms).collect(),
        connections: 16,
    }
}

/// One of every process.
fn processes() -> Vec<ArrivalsFile> {
    let (rate, connections) = (hz(100.0), 16);
    vec![
        ArrivalsFile::ClosedLoop {
            think: Distribution::Exponential(ms(10)),
        },
        poisson(100.0),
        ArrivalsFile::Deterministic { rate, connections },
        ArrivalsFile::Gamma {
            rate,
            cv: 0.5,
            connections,
        },
        ArrivalsFile::Hyperexponential {
            rate,
            cv: 3.0,
            connections,
        },
        renewal(Distribution::Uniform {
            from: ms(5),
            to: ms(15),
        }),
        modulated(&[(500.0, 20), (0.0, 80)]),
        piecewise(&[(150.0, 1000), (0.0, 500), (100.0, 1500)], true),
        ArrivalsFile::Replay(ReplayFile {
            column: Some("arrival_s".to_owned()),
            unit: ReplayUnit::Ms,
            rate_factor: Some(2.5),
            repeat: true,
            ..trace()
        }),
        times(&[0, 10, 10, 25]),
    ]
}

fn gaps(arrivals: &ArrivalsFile, seed: u64) -> Gaps {
    let times: Arc<[SimDuration]> = [5, 1, 0, 14].map(ms).into();
    Gaps::new(arrivals, Some(times), Seed(seed), "client/a/0").unwrap()
}

/// The first `n` gaps, in seconds.
fn secs(arrivals: &ArrivalsFile, n: usize) -> Vec<f64> {
    let gaps = gaps(arrivals, 0).take(n);
    gaps.map(|gap| gap.as_secs_f64()).collect()
}

/// Times of the requests until `until`, in seconds.
fn times_until(arrivals: &ArrivalsFile, seed: u64, until: f64) -> Vec<f64> {
    let mut at = SimDuration::ZERO;
    gaps(arrivals, seed)
        .map(|gap| {
            at += gap;
            at.as_secs_f64()
        })
        .take_while(|at| *at < until)
        .collect()
}

fn assert_covers(interval: Estimate, theory: f64, widest: f64, what: &str) {
    let Estimate { low, high, .. } = interval;
    assert!(
        low <= theory && theory <= high,
        "{what}: {theory} not in [{low}, {high}]"
    );
    assert!(
        (high - low) / 2.0 < widest * theory,
        "{what}: [{low}, {high}] is too wide to be a test"
    );
}

/// √n times the Kolmogorov distance of `sample` from the unit exponential distribution.
fn distance_from_exponential(mut sample: Vec<f64>) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distances = sample.iter().enumerate().map(|(index, x)| {
        let p = -(-x).exp_m1();
        let below = index as f64 / n;
        (p - below).abs().max((p - below - 1.0 / n).abs())
    });
    distances.fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn independent_gaps_have_the_mean_and_the_cv_asked_for() {
    let (rate, connections) = (hz(300.0), 16);
    let gamma = |cv| ArrivalsFile::Gamma {
        rate,
        cv,
        connections,
    };
    let hyperexponential = |cv| ArrivalsFile::Hyperexponential {
        rate,
        cv,
        connections,
    };
    let processes = [
        (poisson(300.0), 1.0),
        (gamma(0.25), 0.25),
        (gamma(2.0), 2.0),
        (hyperexponential(1.0), 1.0),
        (hyperexponential(3.0), 3.0),
    ];
    for (arrivals, cv) in processes {
        let what = format!("{arrivals:?}");
        let scaled: Vec<f64> = secs(&arrivals, 100_000).iter().map(|s| s * 300.0).collect();
        assert_covers(mean_interval(&scaled, CONFIDENCE), 1.0, 0.04, &what);
        let squares: Vec<f64> = scaled.iter().map(|x| (x - 1.0).powi(2)).collect();
        let squared_cv = mean_interval(&squares, CONFIDENCE);
        assert_covers(squared_cv, cv * cv, 0.15, &what);
        // A coefficient of variation that is 8% larger would be seen.
        assert!(squared_cv.high < (1.08 * cv).powi(2), "{what}");
    }
}

#[test]
fn poisson_gaps_are_exponential() {
    let scaled = |rate: f64| {
        let gaps = secs(&poisson(100.0), 100_000);
        distance_from_exponential(gaps.iter().map(|s| s * rate).collect())
    };
    assert!(scaled(100.0) < KOLMOGOROV_0_01_PERCENT);
    assert!(scaled(103.0) > KOLMOGOROV_0_01_PERCENT);
}

/// The index of dispersion of counts in a window of `t` seconds of the stationary MMPP with two
/// states, rates `l` and rates of leaving `r`.
///
/// The covariance of the rate at two times is `v exp(-(r1 + r2) t)` with its variance
/// `v = r1 r2 (l1 - l2)² / (r1 + r2)²`, and that of the counts the integral over both, besides
/// their mean. For long windows it is the
/// `1 + 2 (l1 - l2)² r1 r2 / ((r1 + r2)² (l1 r2 + l2 r1))` of Heffes and Lucantoni (1986, IEEE
/// JSAC 4(6)).
fn index_of_dispersion([l1, l2]: [f64; 2], [r1, r2]: [f64; 2], t: f64) -> f64 {
    let leaving = r1 + r2;
    let limit = 2.0 * (l1 - l2).powi(2) * r1 * r2 / (leaving.powi(2) * (l1 * r2 + l2 * r1));
    1.0 + limit * (1.0 + (-leaving * t).exp_m1() / (leaving * t))
}

#[test]
fn counts_of_two_states_have_the_mean_and_the_dispersion_of_theory() {
    // Rates of leaving of 20 and 5 per second, 132 requests a second in the mean.
    let arrivals = modulated(&[(500.0, 50), (40.0, 200)]);
    let rate = 132.0;
    assert!((arrivals.mean_rate().unwrap() - rate).abs() < 1e-9);
    for window in [0.1, 4.0] {
        let theory = index_of_dispersion([500.0, 40.0], [20.0, 5.0], window);
        let counts: Vec<f64> = (0..8000)
            .map(|seed| times_until(&arrivals, seed, window).len() as f64)
            .collect();
        let mean = rate * window;
        let what = format!("window {window}");
        assert_covers(mean_interval(&counts, CONFIDENCE), mean, 0.06, &what);
        // About the mean of theory, so that each count is a sample of the variance.
        let dispersions: Vec<f64> = counts.iter().map(|n| (n - mean).powi(2) / mean).collect();
        let dispersion = mean_interval(&dispersions, CONFIDENCE);
        assert_covers(dispersion, theory, 0.1, &what);
        // Poisson counts would have 1.
        assert!(dispersion.low > 5.0, "{what}");
    }
}

#[test]
fn the_first_state_is_drawn_by_its_share_of_the_time() {
    // The rate in a window much shorter than a stay is that of the state in which it starts.
    let arrivals = modulated(&[(1e5, 2000), (0.0, 3000), (0.0, 5000)]);
    let busy: Vec<f64> = (0..4000)
        .map(|seed| f64::from(u8::from(!times_until(&arrivals, seed, 5e-4).is_empty())))
        .collect();
    assert_covers(mean_interval(&busy, CONFIDENCE), 0.2, 0.2, "share");
}

#[test]
fn equal_rates_in_every_state_or_piece_give_the_poisson_process() {
    let plain: Vec<f64> = secs(&poisson(100.0), 10_000);
    let same = [
        modulated(&[(100.0, 1), (100.0, 3)]),
        modulated(&[(100.0, 1000)]),
        piecewise(&[(100.0, 2), (100.0, 9)], true),
    ];
    for arrivals in same {
        for (ours, theirs) in secs(&arrivals, 10_000).iter().zip(&plain) {
            assert!(
                (ours - theirs).abs() < 1.5e-12,
                "{arrivals:?}: {ours}, {theirs}"
            );
        }
    }
}

/// Rate per second, and length in milliseconds.
const PIECES: [(f64, u64); 4] = [(300.0, 500), (0.0, 250), (1000.0, 100), (40.0, 1150)];
const CYCLE_S: f64 = 2.0;

/// The integral of the rate of the pieces, repeated, up to `t` seconds.
fn cumulative_rate(t: f64) -> f64 {
    let n_cycles = (t / CYCLE_S).floor();
    let (mut left, mut sum) = (t - n_cycles * CYCLE_S, n_cycles * 296.0);
    for (rate, length_ms) in PIECES {
        let span = left.min(length_ms as f64 / 1e3);
        sum += rate * span;
        left -= span;
    }
    sum
}

#[test]
fn counts_in_each_piece_are_poisson() {
    const N_CYCLES: usize = 400;
    let times = times_until(&piecewise(&PIECES, true), 0, N_CYCLES as f64 * CYCLE_S);
    let quantile = |p, n| ChiSquared::new(n).unwrap().inverse_cdf(p);
    let mut start = 0.0;
    let mut between_pieces = [0.0, 0.0];
    for (rate, length_ms) in PIECES {
        let end = start + length_ms as f64 / 1e3;
        let mut counts = [0.0; N_CYCLES];
        for time in &times {
            let cycle = (time / CYCLE_S).floor();
            let into = time - cycle * CYCLE_S;
            if start <= into && into < end {
                counts[cycle as usize] += 1.0;
            }
        }
        let mean = rate * (end - start);
        let total: f64 = counts.iter().sum();
        if mean > 0.0 {
            // Dispersion: the sum is chi-square with a degree of freedom a cycle.
            let dispersion: f64 = counts.iter().map(|n| (n - mean).powi(2) / mean).sum();
            let tail = (1.0 - CONFIDENCE) / 2.0;
            let n = N_CYCLES as f64;
            assert!(dispersion < quantile(1.0 - tail, n), "{rate}: {dispersion}");
            assert!(dispersion > quantile(tail, n), "{rate}: {dispersion}");
            for (sum, factor) in between_pieces.iter_mut().zip([1.0, 1.03]) {
                let expected = factor * mean * n;
                *sum += (total - expected).powi(2) / expected;
            }
        } else {
            assert!(total < 0.5, "{total} requests at rate zero");
        }
        start = end;
    }
    assert!(between_pieces[0] < quantile(CONFIDENCE, 3.0));
    // Rates that are 3% higher would be seen.
    assert!(between_pieces[1] > quantile(CONFIDENCE, 3.0));
}

#[test]
fn in_the_time_of_the_cumulative_rate_piecewise_gaps_are_unit_exponential() {
    let times = times_until(&piecewise(&PIECES, true), 1, 200.0 * CYCLE_S);
    let mut before = 0.0;
    let hazards = times.iter().map(|time| {
        let now = cumulative_rate(*time);
        let hazard = now - before;
        before = now;
        hazard
    });
    assert!(distance_from_exponential(hazards.collect()) < KOLMOGOROV_0_01_PERCENT);
}

#[test]
fn without_repeat_nothing_arrives_after_the_last_piece() {
    let pieces = [(100.0, 1000), (0.0, 1000)];
    let once: Vec<_> = gaps(&piecewise(&pieces, false), 0).collect();
    let again = times_until(&piecewise(&pieces, true), 0, 1.0);
    assert_eq!(once.len(), again.len());
    let mut ended = gaps(&piecewise(&pieces, false), 0);
    assert_eq!(ended.by_ref().count(), once.len());
    assert_eq!([(); 3].map(|()| ended.next()), [None; 3]);
}

#[test]
fn a_process_ends_where_the_clock_does() {
    // A millionth of a request every 200 days; the clock holds 213.
    let mut rare = gaps(&piecewise(&[(0.0, 17_280_000_000), (1e-6, 1000)], true), 0);
    assert_eq!([(); 3].map(|()| rare.next()), [None; 3]);
}

#[test]
fn gaps_are_those_of_the_streams_named_after_the_source() {
    use crate::random::{exponential, stream};
    let mut rng = stream(Seed(3), "client/a/0/arrivals");
    for gap in gaps(&poisson(120.0), 3).take(100) {
        let drawn = exponential(&mut rng, 1.0 / 120.0);
        assert_eq!(gap, SimDuration::from_secs_f64(drawn));
    }
    // Every change of state is drawn from the other stream, so gaps take one draw each.
    let mut rng = stream(Seed(3), "client/a/0/arrivals");
    let first = gaps(&modulated(&[(1e6, 1_000_000)]), 3).next().unwrap();
    assert_eq!(
        first,
        SimDuration::from_secs_f64(exponential(&mut rng, 1e-6))
    );
}

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
fn the_rate_of_a_renewal_process_is_one_over_the_mean_gap() {
    use crate::distribution::Component;
    let of = |distribution| Box::new(distribution);
    let half = |of| Component { share: 2.0, of };
    let normal = Distribution::Normal {
        mean: ms(4),
        sd: ms(8),
    };
    let gaps = [
        Distribution::Quantiles([1, 3, 9].map(ms).to_vec()),
        normal.clone(),
        Distribution::Shifted {
            by: ms(5),
            of: of(normal.clone()),
        },
        Distribution::Truncated {
            from: ms(2),
            to: SimDuration::from_ps(1_000_000_000_000_000),
            of: of(normal),
        },
        Distribution::Truncated {
            from: ms(1),
            to: ms(8),
            of: of(Distribution::Mixture(vec![
                half(Distribution::Constant(ms(2))),
                half(Distribution::Constant(ms(7))),
            ])),
        },
        Distribution::Pareto {
            scale: ms(2),
            shape: 3.5,
        },
        Distribution::Weibull {
            mean: ms(2),
            shape: 0.7,
        },
    ];
    for gap in gaps {
        let arrivals = renewal(gap);
        let rate = arrivals.mean_rate().unwrap();
        let interval = mean_interval(&secs(&arrivals, 50_000), CONFIDENCE);
        // The integral over a step is off by up to 0.2%.
        let slack = 2e-3 * interval.value;
        let (low, high) = (interval.low - slack, interval.high + slack);
        assert!(low < 1.0 / rate && 1.0 / rate < high, "{arrivals:?}");
        assert!(interval.high - interval.low < 0.08 / rate, "{arrivals:?}");
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

#[test]
fn first_gaps_are_stable() {
    let first = |arrivals: &ArrivalsFile| {
        let gaps = gaps(arrivals, 7).take(3);
        gaps.map(SimDuration::as_ps).collect::<Vec<_>>()
    };
    let vectors: Vec<_> = processes().iter().map(first).collect();
    insta::assert_snapshot!(format!("{vectors:?}"), @"[[15196830558, 1075209148, 1763909517], [15196830558, 1075209148, 1763909517], [10000000000, 10000000000, 10000000000], [5970102079, 16624752106, 14713952845], [1386328389, 15617008913, 11417064104], [7187812174, 13980577395, 13382901883], [431663087207, 215041830, 352781903], [10131220372, 716806099, 1175939678], [5000000000, 1000000000, 0], [0, 10000000000, 0]]");
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
