//! What is said while something takes long: a bar on a terminal, a line a step elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Common;

/// Progress of a verb on standard error.
#[derive(Debug)]
pub(crate) struct Steps {
    bar: ProgressBar,
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
            ProgressBar::new(n as u64)
        };
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} [{elapsed}, {eta} to go]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Steps {
            bar,
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

    /// Ends a step.
    pub(crate) fn done(&self) {
        self.bar.inc(1);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn console_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}
