//! How the command ends: 0 done, 1 the answer is no or the work failed, 2 the input is wrong.

use std::fmt;
use std::process::ExitCode;

use plots::PlotError;
use realrun::RealrunError;
use schema::error::FileError;
use schema::profile::ProfileError;
use sim::SimError;

/// Exit code when the answer is no or the work failed.
pub(crate) const NO: u8 = 1;
/// Exit code when the input or the usage is wrong.
pub(crate) const WRONG_INPUT: u8 = 2;

/// Arguments that do not go together.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Why a verb could not do its work.
#[derive(Debug)]
pub(crate) struct Failure(anyhow::Error);

impl Failure {
    /// Says on standard error what went wrong, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {self}");
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        let wrong_input = self.0.chain().any(|cause| {
            cause.is::<ProfileError>()
                || cause.is::<Usage>()
                || matches!(
                    cause.downcast_ref(),
                    Some(
                        PlotError::NoReplication { .. }
                            | PlotError::NoWindow { .. }
                            | PlotError::TooMany { .. }
                    )
                )
                || matches!(cause.downcast_ref(), Some(RealrunError::Unsupported { .. }))
                || matches!(
                    cause.downcast_ref(),
                    Some(
                        SimError::Profile(_)
                            | SimError::Driver { .. }
                            | SimError::Contention { .. }
                            | SimError::Unsupported { .. }
                            | SimError::NoProfile
                    )
                )
                || file_error(cause).is_some_and(|error| !matches!(error, FileError::Write { .. }))
        });
        if wrong_input { WRONG_INPUT } else { NO }
    }
}

/// The file error that a cause is, or passes on as its own.
fn file_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a FileError> {
    match cause.downcast_ref() {
        Some(RealrunError::File(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.0.chain() {
            let text = cause.to_string();
            // A transparent error repeats its cause.
            if !said.ends_with(&text) {
                if !said.is_empty() {
                    said.push_str(": ");
                }
                said.push_str(&text);
            }
        }
        f.write_str(&said)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}
