//! What can be wrong with a file, and how it is said: file, line, key, what was found, what is
//! allowed.

use std::io;
use std::path::{Path, PathBuf};

/// Where in the input a key stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A line of the file, from one.
    Line(usize),
    /// A `--set` of the command line.
    Override(String),
    /// The key is nowhere in the input; the file is all that can be named.
    File,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML, JSON or Parquet.
    #[error("{}: {problem}", position(path, place))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What the parser says.
        problem: String,
    },
    /// A key has a value that it cannot have, or does not exist.
    #[error("{}: `{key}`: {problem}", position(path, place))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// The key, as a dotted path.
        key: String,
        /// What is wrong, what was found and what is allowed.
        problem: String,
    },
    /// An override of the command line does not have the form `key.path=value`, or does not apply.
    #[error("--set {text}: {problem}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file was made by a version of the format that this program does not read.
    #[error(
        "{}: `format`: {found} is not known (allowed: {known})",
        position(path, place)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// The version found.
        found: u32,
        /// The versions that can be read.
        known: &'static str,
    },
}

/// The file and the place in it, as a message begins.
pub(crate) fn position(path: &Path, place: &Place) -> String {
    match place {
        Place::Line(line) => format!("{}:{line}", path.display()),
        Place::Override(text) => format!("{} with --set {text}", path.display()),
        Place::File => path.display().to_string(),
    }
}

/// The candidate nearest to `found`, if one is near enough to be a slip of the fingers.
pub fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(found, candidate),
                candidate,
            )
        })
        .filter(|(similarity, _)| *similarity >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `, did you mean `x`?` and the names allowed, as the end of a message.
pub fn suggest<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let hint = nearest(found, allowed.clone())
        .map(|name| format!(", did you mean `{name}`?"))
        .unwrap_or_default();
    let names = allowed.into_iter().collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() {
        "(none)".to_owned()
    } else {
        names
    };
    format!("{hint} (allowed: {names})")
}
