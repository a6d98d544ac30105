//! Markov chains written down state by state, and solved without any of the formulas under test.

use std::collections::BTreeMap;

use crate::theory::linear::solve;

/// Stationary probabilities of the chain that starts in `start` and moves with these rates, by the
/// elimination of Grassmann, Taksar and Heyman (1985), which subtracts nothing.
pub(super) fn stationary<S: Ord + Clone>(
    start: S,
    moves: impl Fn(&S) -> Vec<(S, f64)>,
) -> Vec<(S, f64)> {
    let (index, rates) = explore(start, |state| {
        moves(state)
            .into_iter()
            .map(|(next, rate)| (Some(next), rate))
            .collect()
    });
    let n = index.len();
    let distances = rates
        .iter()
        .map(|(i, j, _)| i.abs_diff(j.expect("none is absorbing")));
    let band = distances.max().unwrap_or(0);
    // Row i holds the columns from i - band on.
    let mut rows = vec![vec![0.0; 2 * band + 1]; n];
    for (i, j, rate) in rates {
        rows[i][j.unwrap() + band - i] += rate;
    }
    for k in (1..n).rev() {
        let near = k.saturating_sub(band)..k;
        let last = rows[k].clone();
        let out: f64 = near.clone().map(|j| last[j + band - k]).sum();
        for i in near.clone() {
            rows[i][k + band - i] /= out;
            let factor = rows[i][k + band - i];
            if factor > 0.0 {
                near.clone()
                    .for_each(|j| rows[i][j + band - i] += factor * last[j + band - k]);
            }
        }
    }
    let mut weights = vec![1.0];
    for k in 1..n {
        let near = k.saturating_sub(band)..k;
        weights.push(near.map(|i| weights[i] * rows[i][k + band - i]).sum());
    }
    let total: f64 = weights.iter().sum();
    index
        .into_keys()
        .zip(weights.into_iter().map(|weight| weight / total))
        .collect()
}

/// First and second moment of the time until the chain moves to `None`, for each state.
pub(super) fn absorption<S: Ord + Clone>(
    start: S,
    moves: impl Fn(&S) -> Vec<(Option<S>, f64)>,
) -> BTreeMap<S, (f64, f64)> {
    let (index, rates) = explore(start, moves);
    let n = index.len();
    let mut matrix = vec![vec![0.0; n]; n];
    for (i, j, rate) in rates {
        matrix[i][i] += rate;
        if let Some(j) = j {
            matrix[i][j] -= rate;
        }
    }
    let first = solve(matrix.clone(), vec![vec![1.0]; n]).unwrap();
    let twice = first.iter().map(|m| vec![2.0 * m[0]]).collect();
    let second = solve(matrix, twice).unwrap();
    index
        .into_iter()
        .map(|(state, i)| (state, (first[i][0], second[i][0])))
        .collect()
}

type Rates = Vec<(usize, Option<usize>, f64)>;

/// Every state that can be reached, numbered in order, and the rates between them.
fn explore<S: Ord + Clone>(
    start: S,
    moves: impl Fn(&S) -> Vec<(Option<S>, f64)>,
) -> (BTreeMap<S, usize>, Rates) {
    let mut index = BTreeMap::from([(start.clone(), 0)]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        for next in moves(&state)
            .into_iter()
            .filter(|m| m.1 > 0.0)
            .filter_map(|m| m.0)
        {
            if index.insert(next.clone(), 0).is_none() {
                open.push(next);
            }
        }
    }
    index
        .values_mut()
        .enumerate()
        .for_each(|(i, number)| *number = i);
    let mut rates = Vec::new();
    for (state, i) in &index {
        for (next, rate) in moves(state).into_iter().filter(|m| m.1 > 0.0) {
            rates.push((*i, next.map(|next| index[&next]), rate));
        }
    }
    (index, rates)
}

/// Expectation of `value` under the probabilities of the states.
pub(super) fn expect<S>(states: &[(S, f64)], value: impl Fn(&S) -> f64) -> f64 {
    states.iter().map(|(state, p)| p * value(state)).sum()
}

#[test]
fn the_two_solvers_know_a_chain_of_two_states() {
    let states = stationary(0, |&s: &i32| vec![(1 - s, if s == 0 { 2.0 } else { 3.0 })]);
    assert!((expect(&states, |&s| f64::from(s)) - 0.4).abs() < 1e-15);
    let moments = absorption((), |()| vec![(None, 2.0)]);
    assert!((moments[&()].0 - 0.5).abs() < 1e-15 && (moments[&()].1 - 0.5).abs() < 1e-15);
}
