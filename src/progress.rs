//! What is said while something takes long: a bar on a terminal, a line a step elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Common;

/// Parts of a step that the bar can tell apart.
const RESOLUTION: u64 = 1000;

/// Progress of a verb on standard error.
#[derive(Debug)]
pub(crate) struct Steps {
    bar: ProgressBar,
    n_done: AtomicU64,
    quiet: bool,
    on_terminal: bool,
}

impl Steps {
    /// Progress through `n` steps.
    pub(crate) fn new(common: &Common, n: usize) -> Steps {
        let on_terminal = console_is_terminal();
        let bar = if common.quiet || !on_terminal {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(n as u64 * RESOLUTION)
        };
        let style =
            ProgressStyle::with_template("{bar:24} {percent:>3}% {msg} [{elapsed}, {eta} to go]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Steps {
            bar,
            n_done: AtomicU64::new(0),
            quiet: common.quiet,
            on_terminal,
        }
    }

    /// Begins a step.
    pub(crate) fn begin(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if !self.quiet && !self.on_terminal {
            eprintln!("{what}");
        }
    }

    /// Shows that `share` of the step, from 0 to 1, is done.
    pub(crate) fn within(&self, share: f64) {
        let part = (share.clamp(0.0, 1.0) * RESOLUTION as f64) as u64;
        let n_done = self.n_done.load(Ordering::Relaxed);
        self.bar.set_position(n_done * RESOLUTION + part);
    }

    /// Ends a step.
    pub(crate) fn done(&self) {
        self.n_done.fetch_add(1, Ordering::Relaxed);
        self.within(0.0);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn console_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}
