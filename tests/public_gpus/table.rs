//! Predictions beside measurements, and tables of their errors.

use calibrate::gpu::held_out::Errors;

/// A time that was held out from the fit, in seconds.
pub(crate) struct Prediction {
    /// Its net.
    pub(crate) net: String,
    /// Requests of its batch.
    pub(crate) batch: f64,
    /// What the engine gives.
    pub(crate) engine: f64,
    /// What the law gives.
    pub(crate) law: f64,
    /// What was measured.
    pub(crate) measured: f64,
}

/// Errors of the engine in the predictions that `is_asked` for.
pub(crate) fn errors(predictions: &[Prediction], is_asked: impl Fn(&Prediction) -> bool) -> Errors {
    let asked = predictions.iter().filter(|p| is_asked(p));
    Errors::of(&asked.map(|p| (p.engine, p.measured)).collect::<Vec<_>>())
}

/// Differences of engine and law.
pub(crate) fn differences(predictions: &[Prediction]) -> Errors {
    let pairs = predictions.iter().map(|p| (p.engine, p.law));
    Errors::of(&pairs.collect::<Vec<_>>())
}

/// Rows of a table of errors, in the order in which they came.
pub(crate) struct Rows(Vec<String>);

impl Rows {
    /// A table without rows.
    pub(crate) fn new() -> Rows {
        Rows(vec![
            "| what | held out | net | n | mean | 90% below | largest | bias |".to_owned(),
            "|---|---|---|---|---|---|---|---|".to_owned(),
        ])
    }

    /// Adds a row for each net and one for all; the errors of all.
    pub(crate) fn add(&mut self, what: &str, split: &str, predictions: &[Prediction]) -> Errors {
        let mut nets: Vec<&str> = predictions.iter().map(|p| p.net.as_str()).collect();
        nets.sort_unstable();
        nets.dedup();
        for net in nets {
            let own = errors(predictions, |p| p.net == net);
            self.0.push(row(what, split, net, &own));
        }
        let all = errors(predictions, |_| true);
        self.0.push(row(what, split, "**all**", &all));
        all
    }

    /// Prints it, which `cargo test` shows with `--nocapture`.
    pub(crate) fn print(&self) {
        eprintln!("\n{}\n", self.0.join("\n"));
    }
}

fn row(what: &str, split: &str, net: &str, errors: &Errors) -> String {
    let Errors {
        mean,
        p90,
        max,
        bias,
        n,
    } = errors;
    let [mean, p90, max, bias] = [mean, p90, max, bias].map(|e| 100.0 * e);
    format!("| {what} | {split} | {net} | {n} | {mean:.2}% | {p90:.1}% | {max:.0}% | {bias:+.2}% |")
}
