//! The PCIe link: what copies reach, and by what part each direction is slower beside the other.

use std::collections::BTreeMap;

use schema::profile::{CostLaw, Parameter, cost, parameter};

use super::ParameterReport;
use super::robust::Centre;
use super::seen::{Done, Seen, What, names};

/// By how many standard errors a slow-down must exceed zero to be one.
const N_ERRORS: f64 = 2.0;

/// By what part of their number copies of several streams must be slower to be in one line.
const IN_LINE: f64 = 0.9;

/// What a context that copies one way did: what it moved each time, and how long each copy and each
/// turn of copy and all else took.
struct OneWay {
    bytes: f64,
    copy: Centre,
    turn: Centre,
}

/// The bandwidth that the fastest copies reach: a link's own may be more, which no copy of one
/// GPU shows.
pub(super) fn bandwidth(part: &str, laws: &BTreeMap<String, CostLaw>) -> Option<ParameterReport> {
    let pinned = [cost::H2D, cost::D2H].map(|direction| format!("{direction}/pinned"));
    let laws = pinned.iter().filter_map(|key| laws.get(key));
    let fastest = laws
        .filter(|law| law.slope > 0.0)
        .min_by(|a, b| a.slope.total_cmp(&b.slope))?;
    let value = 1.0 / fastest.slope;
    Some(ParameterReport {
        part: part.to_owned(),
        name: parameter::PCIE_BANDWIDTH.to_owned(),
        estimate: Parameter {
            value,
            standard_error: value * fastest.slope_error / fastest.slope,
            unit: "B/s".to_owned(),
            range: None,
            source: fastest.source.clone(),
        },
        warnings: Vec::new(),
    })
}

/// By what part each direction is slower while the other is busy: from runs in which one context
/// copies in and another copies out, both again and again.
///
/// A copy of `b` bytes takes `t = base + b · slope / (1 - p · f)` on average, with `f` the part of
/// the time in which bytes move the other way. The penalty `p` is the mean of what both directions
/// give.
pub(super) fn duplex_penalty(
    part: &str,
    runs: &[Seen<'_>],
    laws: &BTreeMap<String, CostLaw>,
) -> Option<ParameterReport> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    let mut sources = Vec::new();
    for run in runs.iter().filter(|run| run.is_handed_over) {
        let contexts: Vec<_> = run.contexts.iter().collect();
        let [(a, of_a), (b, of_b)] = contexts[..] else {
            continue;
        };
        let both = match (one_way(of_a), one_way(of_b)) {
            (Some((What::H2d(_), h2d)), Some((What::D2h(_), d2h))) => Some([(a, h2d), (b, d2h)]),
            (Some((What::D2h(_), d2h)), Some((What::H2d(_), h2d))) => Some([(b, h2d), (a, d2h)]),
            _ => None,
        };
        let Some([(to, h2d), (from, d2h)]) = both else {
            continue;
        };
        let law = |direction: &str, stage| laws.get(&format!("{direction}/{}", run.memory(stage)));
        let (Some(law_in), Some(law_out)) = (law(cost::H2D, to.0), law(cost::D2H, from.0)) else {
            continue;
        };
        found.push(penalty(&h2d, law_in, &d2h, law_out));
        found.push(penalty(&d2h, law_out, &h2d, law_in));
        sources.push(run.source);
    }
    if found.is_empty() {
        return None;
    }
    let n = found.len() as f64;
    let value = found.iter().map(|(penalty, _)| penalty).sum::<f64>() / n;
    let by_chance = found
        .iter()
        .map(|(_, error)| error * error)
        .sum::<f64>()
        .sqrt()
        / n;
    let mean_square = found
        .iter()
        .map(|(penalty, _)| (penalty - value).powi(2))
        .sum::<f64>()
        / n;
    // Where the directions differ, the one number that stands for both is as uncertain.
    let error = by_chance.hypot((mean_square / n).sqrt());
    let is_there = value > N_ERRORS * by_chance;
    Some(ParameterReport {
        part: part.to_owned(),
        name: parameter::DUPLEX_PENALTY.to_owned(),
        estimate: Parameter {
            value: if is_there { value.min(0.99) } else { 0.0 },
            standard_error: error,
            unit: "1".to_owned(),
            range: None,
            source: names(sources),
        },
        warnings: Vec::new(),
    })
}

/// What to know if copies of several streams one way do not follow each other, as the engine has it.
pub(super) fn engines(
    part: &str,
    runs: &[Seen<'_>],
    laws: &BTreeMap<String, CostLaw>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for run in runs.iter().filter(|run| run.is_handed_over) {
        let n = run.contexts.len() as f64;
        let ways = run.contexts.iter().map(|((stage, _), done)| {
            let (what, way) = one_way(done)?;
            let direction = match what {
                What::H2d(_) => cost::H2D,
                _ => cost::D2H,
            };
            let law = laws.get(&format!("{direction}/{}", run.memory(*stage)))?;
            let alone = law.expected(way.bytes);
            Some((direction, way.copy.value / alone))
        });
        let Some(ways) = ways.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let is_one_way = ways.windows(2).all(|pair| pair[0].0 == pair[1].0);
        let least = ways.iter().map(|(_, factor)| *factor).fold(n, f64::min);
        // A copy waits for one of each other stream.
        if n > 1.0 && is_one_way && least < IN_LINE * n {
            warnings.push(format!(
                "{}: `{}` copies of {n} streams of part `{part}` take {least:.1} times as long as one alone: more than one engine serves them, and the engine has one a direction",
                run.source, ways[0].0
            ));
        }
    }
    warnings
}

/// What a context did that copies one way only, all copies of one size; and which way that was.
fn one_way(done: &[Done]) -> Option<(What, OneWay)> {
    let copies: Vec<&Done> = done
        .iter()
        .filter(|done| matches!(done.what, What::H2d(_) | What::D2h(_)))
        .collect();
    let first = copies.first()?;
    if copies.iter().any(|done| done.what != first.what) {
        return None;
    }
    let (What::H2d(bytes) | What::D2h(bytes)) = first.what else {
        unreachable!("kernels were left out")
    };
    let lengths: Vec<f64> = copies.iter().map(|done| done.length_s()).collect();
    let turns = copies.windows(2).map(|pair| pair[1].end_s - pair[0].end_s);
    Some((
        first.what,
        OneWay {
            bytes: bytes as f64,
            copy: Centre::of(&lengths, 1.0)?,
            turn: Centre::of(&turns.collect::<Vec<_>>(), 1.0)?,
        },
    ))
}

/// The penalty that copies of `own` show beside `other`, and its standard error.
fn penalty(own: &OneWay, law: &CostLaw, other: &OneWay, other_law: &CostLaw) -> (f64, f64) {
    let moving = (other.copy.value - other_law.base) / other.turn.value;
    let took = own.copy.value - law.base;
    let alone = own.bytes * law.slope;
    let value = (1.0 - alone / took) / moving;
    let of_alone = alone * law.slope_error / law.slope;
    let of_took = own.copy.error.hypot(law.base_error) * alone / took;
    (value, of_alone.hypot(of_took) / took / moving)
}
