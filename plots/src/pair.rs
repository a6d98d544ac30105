//! A scenario's measurement beside its simulation.

use schema::run::RunKind;

/// What was measured and what was simulated of one scenario; either may be missing.
#[derive(Clone, Debug)]
pub struct Pair<T> {
    /// Name in the figure.
    pub label: String,
    /// As measured.
    pub measured: Option<T>,
    /// As simulated.
    pub simulated: Option<T>,
}

impl<T> Pair<T> {
    /// A pair called `label` with nothing in it yet.
    pub const fn empty(label: String) -> Pair<T> {
        Pair {
            label,
            measured: None,
            simulated: None,
        }
    }

    /// The side of `kind`.
    pub const fn side(&mut self, kind: RunKind) -> &mut Option<T> {
        match kind {
            RunKind::Measured => &mut self.measured,
            RunKind::Simulated => &mut self.simulated,
        }
    }

    /// What there is, measured first.
    pub(crate) fn present(&self) -> impl Iterator<Item = (RunKind, &T)> {
        let measured = self.measured.iter().map(|value| (RunKind::Measured, value));
        let simulated = self.simulated.iter();
        measured.chain(simulated.map(|value| (RunKind::Simulated, value)))
    }
}

/// The word for who made a run, in legends and tables.
pub(crate) const fn kind_name(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Measured => "measured",
        RunKind::Simulated => "simulated",
    }
}
