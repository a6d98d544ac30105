//! Why a measurement could not be made.

use std::io;
use std::path::PathBuf;

use schema::error::FileError;

use crate::accelerator::AcceleratorError;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RealrunError {
    /// A file or the scenario in it is not usable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The accelerator cannot do what the scenario asks.
    #[error("stage `{stage}`")]
    Accelerator {
        /// The stage.
        stage: String,
        /// Why.
        source: Box<AcceleratorError>,
    },
    /// A call to the operating system failed.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// This machine or program cannot execute what the scenario asks.
    #[error("{key}: {problem}")]
    Unsupported {
        /// File and key of the scenario.
        key: String,
        /// What is lacking, and what to do.
        problem: String,
    },
    /// A role could not be started.
    #[error("role `{role}` did not start: {problem}")]
    Start {
        /// The role.
        role: String,
        /// What it said, or how it ended.
        problem: String,
    },
    /// A peer sent what the protocol does not allow.
    #[error("{peer}: {problem}")]
    Protocol {
        /// Who.
        peer: String,
        /// What was wrong.
        problem: String,
    },
    /// A journal is damaged.
    #[error("{}: {problem}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl RealrunError {
    /// An [`RealrunError::Io`] about `what` was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> RealrunError {
        let what = what.into();
        move |source| RealrunError::Io { what, source }
    }

    /// The error with all of its causes, in one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
