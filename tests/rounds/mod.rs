//! Errors of predictions of what was measured on a machine that others use too.
//!
//! Probes and loads are measured in rounds, in turn, so that a machine that is slower for a while is slower
//! for both, and a prediction is made of each round's probes. Each round ends with its first probe again:
//! where that differs from the first, the machine was another while the round went on, and the round says
//! nothing about predictions. Of a figure the median error over the other rounds is judged. That is told
//! from the tolerance by its interval: an error is too large where the whole interval is beyond it.

use schema::run::{Run, SpanName, Status};
use schema::stats::{Estimate, quantile, quantile_interval};

/// Confidence of the interval of a median error.
const CONFIDENCE: f64 = 0.95;
/// Rounds that say something of which there must be so many for a judgement: fewer have no interval.
pub(crate) const FEWEST: usize = 5;
/// How far the first probe may differ when it is measured again, relative to its median.
const STEADY: f64 = 0.1;

/// A figure of a load in one round.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) measured: f64,
    pub(crate) predicted: f64,
    /// Largest error, relative to what was measured.
    pub(crate) tolerance: f64,
}

/// What was measured and predicted in one round.
pub(crate) struct Round {
    /// Whether the machine was the same from its begin to its end.
    pub(crate) steady: bool,
    /// The same in each round, in the same order.
    pub(crate) figures: Vec<Figure>,
}

/// What can be said of all figures.
#[derive(PartialEq, Debug)]
pub(crate) enum Verdict {
    /// The median error of each is within its tolerance.
    Within,
    /// Too few rounds were steady, or the interval of an error that is beyond its tolerance reaches into it.
    Open,
    /// These errors are beyond their tolerance with their whole interval.
    Beyond(Vec<String>),
}

/// Whether the machine took as long for a probe before a round as after it.
pub(crate) fn is_steady(before: &Run, after: &Run) -> bool {
    let median = |run: &Run| {
        let spans = run.trace.iter();
        let requests =
            spans.filter(|span| span.name == SpanName::Request && span.status == Status::Ok);
        let mut times: Vec<f64> = requests.map(|span| span.length_s()).collect();
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.5)
    };
    (median(after) / median(before) - 1.0).abs() < STEADY
}

/// The figures over the steady rounds, a line each, and what they say.
pub(crate) fn judged(rounds: &[Round]) -> (Vec<String>, Verdict) {
    let steady: Vec<&Round> = rounds.iter().filter(|round| round.steady).collect();
    let mut lines = vec![format!(
        "{} of {} rounds were steady; figure: measured, predicted, error (interval)",
        steady.len(),
        rounds.len()
    )];
    if steady.len() < FEWEST {
        return (lines, Verdict::Open);
    }
    let (mut all_within, mut beyond) = (true, Vec::new());
    for (i, figure) in steady[0].figures.iter().enumerate() {
        let median = |value: fn(&Figure) -> f64| -> Estimate {
            let mut values: Vec<f64> = (steady.iter())
                .map(|round| value(&round.figures[i]))
                .collect();
            values.sort_by(f64::total_cmp);
            quantile_interval(&values, 0.5, CONFIDENCE, values.len() as f64)
        };
        let error = median(|figure| figure.predicted / figure.measured - 1.0);
        let line = format!(
            "{}: {:.5}, {:.5}, {:+.1}% ({:+.1} to {:+.1})",
            figure.name,
            median(|figure| figure.measured).value,
            median(|figure| figure.predicted).value,
            100.0 * error.value,
            100.0 * error.low,
            100.0 * error.high,
        );
        all_within &= error.value.abs() <= figure.tolerance;
        if error.low > figure.tolerance || error.high < -figure.tolerance {
            beyond.push(line.clone());
        }
        lines.push(line);
    }
    let verdict = match (all_within, beyond.is_empty()) {
        (true, _) => Verdict::Within,
        (false, true) => Verdict::Open,
        (false, false) => Verdict::Beyond(beyond),
    };
    (lines, verdict)
}

/// Measures rounds until errors are within their tolerances, but no more than `most`. `measure` is told
/// the numbers of the first and the last round of some.
///
/// # Panics
/// If errors are beyond their tolerance after so many.
pub(crate) fn judge(most: usize, mut measure: impl FnMut(usize, usize) -> Vec<Round>) {
    let mut rounds = Vec::new();
    let mut verdict = Verdict::Open;
    while verdict != Verdict::Within && rounds.len() < most {
        let first = rounds.len() + 1;
        rounds.extend(measure(first, (first + FEWEST - 1).min(most)));
        let (lines, said) = judged(&rounds);
        eprintln!("{}", lines.join("\n"));
        verdict = said;
    }
    match verdict {
        Verdict::Within => {}
        Verdict::Open => eprintln!("the machine was too restless to tell errors from tolerances"),
        Verdict::Beyond(lines) => panic!("beyond the tolerance: {lines:#?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(errors: &[f64]) -> Vec<Round> {
        let round = |error: &f64| Round {
            steady: true,
            figures: vec![Figure {
                name: "mean".into(),
                measured: 2.0,
                predicted: 2.0 * (1.0 + error),
                tolerance: 0.15,
            }],
        };
        errors.iter().map(round).collect()
    }

    fn verdict(rounds: &[Round]) -> Verdict {
        judged(rounds).1
    }

    #[test]
    fn an_error_is_beyond_its_tolerance_with_its_whole_interval() {
        assert_eq!(
            verdict(&rounds(&[0.1, -0.2, 0.14, 0.3, 0.0])),
            Verdict::Within
        );
        assert_eq!(verdict(&rounds(&[0.1, 0.2, 0.16, 0.3, 0.0])), Verdict::Open);
        let beyond = verdict(&rounds(&[-0.16, -0.2, -0.17, -0.3, -0.4]));
        assert!(matches!(beyond, Verdict::Beyond(lines) if lines[0].contains("-20.0%")));
    }

    #[test]
    fn rounds_in_which_the_machine_changed_say_nothing() {
        let mut rounds = rounds(&[0.3, 0.3, 0.3, 0.3, 0.3, 0.3]);
        rounds[0].steady = false;
        assert!(matches!(verdict(&rounds), Verdict::Beyond(_)));
        rounds[1].steady = false;
        assert_eq!(verdict(&rounds), Verdict::Open);
    }
}
