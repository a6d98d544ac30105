//! Run directories: `run.json`, `trace.parquet`, `summary.json`, whoever made them.

mod manifest;
mod trace;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use manifest::*;
pub use trace::*;

use crate::error::{FileError, Place};
use crate::scenario::Scenario;
use crate::summary::{Summary, summarize};

/// File name of the manifest.
pub const MANIFEST_FILE: &str = "run.json";
/// File name of the trace.
pub const TRACE_FILE: &str = "trace.parquet";
/// File name of the summary.
pub const SUMMARY_FILE: &str = "summary.json";
/// Most replications of a run; more are a damaged file.
const MAX_REPLICATIONS: u32 = 1_000_000;

/// A run in memory.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was run and how.
    pub manifest: Manifest,
    /// The scenario, checked; its ids are those of the trace.
    pub scenario: Scenario,
    /// Every span; empty if only the statistics were kept.
    pub trace: Vec<Span>,
    /// The statistics, if they were kept while the run was made; otherwise they come from the
    /// trace.
    pub kept: Option<Box<Summary>>,
}

impl Run {
    /// A run of what `manifest` says, with its spans.
    ///
    /// # Errors
    /// If the manifest's scenario is not valid.
    pub fn new(manifest: Manifest, trace: Vec<Span>) -> Result<Run, FileError> {
        let scenario = Scenario::from_file(&manifest.scenario)?;
        Ok(Run {
            manifest,
            scenario,
            trace,
            kept: None,
        })
    }

    /// Several runs of one scenario as one run, each of their replications a replication of it.
    ///
    /// Facts about the machine are those of the first; the outcome is that of the first that was
    /// not complete.
    ///
    /// # Panics
    /// If there is no run, or they are not of one scenario.
    pub fn pool(runs: &[&Run]) -> Run {
        let mut pooled = (*runs.first().expect("there is a run to pool")).clone();
        for run in &runs[1..] {
            assert_eq!(
                run.manifest.scenario, pooled.manifest.scenario,
                "only runs of one scenario are replications of each other"
            );
            let shift = pooled.manifest.replications;
            pooled.trace.extend(run.trace.iter().map(|span| Span {
                replication: span.replication + shift,
                ..*span
            }));
            let cpu = run.manifest.cpu.iter().cloned();
            pooled.manifest.cpu.extend(cpu.map(|cpu| CpuUse {
                replication: cpu.replication + shift,
                ..cpu
            }));
            for warning in &run.manifest.warnings {
                if !pooled.manifest.warnings.contains(warning) {
                    pooled.manifest.warnings.push(warning.clone());
                }
            }
            if pooled.manifest.outcome == Outcome::Complete {
                pooled.manifest.outcome = run.manifest.outcome.clone();
            }
            pooled.manifest.replications += run.manifest.replications;
        }
        pooled
    }

    /// Statistics of the run.
    pub fn summary(&self) -> Summary {
        match &self.kept {
            Some(summary) => (**summary).clone(),
            None => summarize(self),
        }
    }

    /// Whether every span was kept.
    pub const fn has_trace(&self) -> bool {
        self.kept.is_none() || !self.trace.is_empty()
    }

    /// Writes the run directory `dir`, which is made if it does not exist.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), FileError> {
        fs::create_dir_all(dir).map_err(|source| FileError::Write {
            path: dir.to_owned(),
            source,
        })?;
        write_json(&dir.join(MANIFEST_FILE), &self.manifest)?;
        write_json(&dir.join(SUMMARY_FILE), &self.summary())?;
        if self.has_trace() {
            return self.save_trace(dir);
        }
        // One of an earlier run would be taken for this one's.
        let path = dir.join(TRACE_FILE);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(FileError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes only the trace into the directory `dir`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_trace(&self, dir: &Path) -> Result<(), FileError> {
        let path = dir.join(TRACE_FILE);
        let file = File::create(&path).map_err(|source| FileError::Write {
            path: path.clone(),
            source,
        })?;
        write_trace(file, &self.scenario, &self.trace).map_err(|error| FileError::Write {
            path,
            source: std::io::Error::other(error),
        })
    }

    /// Reads the run directory `dir`.
    ///
    /// # Errors
    /// If a file is missing, damaged or of an unknown format.
    pub fn load(dir: &Path) -> Result<Run, FileError> {
        let manifest: Manifest = read_json(&dir.join(MANIFEST_FILE))?;
        if manifest.format != RUN_FORMAT {
            let path = dir.join(MANIFEST_FILE);
            return Err(FileError::Format {
                path,
                place: Place::File,
                found: manifest.format,
                known: "1",
            });
        }
        if !(1..=MAX_REPLICATIONS).contains(&manifest.replications) {
            return Err(FileError::Invalid {
                path: dir.join(MANIFEST_FILE),
                place: Place::File,
                key: "replications".to_owned(),
                problem: format!(
                    "must be from 1 to {MAX_REPLICATIONS}, found {}",
                    manifest.replications
                ),
            });
        }
        let scenario = Scenario::from_file(&manifest.scenario)?;
        let path = dir.join(TRACE_FILE);
        let kept = if scenario.is_plain() {
            Some(read_json(&dir.join(SUMMARY_FILE))?)
        } else {
            None
        };
        if kept.is_some() && !path.exists() {
            return Ok(Run {
                manifest,
                scenario,
                trace: Vec::new(),
                kept,
            });
        }
        let file = File::open(&path).map_err(|source| FileError::Read {
            path: path.clone(),
            source,
        })?;
        let trace = read_trace(file, &scenario, manifest.replications).map_err(|problem| {
            FileError::Syntax {
                path,
                place: Place::File,
                problem,
            }
        })?;
        Ok(Run {
            manifest,
            scenario,
            trace,
            kept,
        })
    }
}

/// Writes `value` as indented JSON.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let mut text =
        serde_json::to_string_pretty(value).expect("a value of ours can be written as JSON");
    text.push('\n');
    fs::write(path, text).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Reads a value from a JSON file.
///
/// # Errors
/// If the file cannot be read or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let key = error.path().to_string();
        let inner = error.into_inner();
        let place = if inner.line() == 0 {
            Place::File
        } else {
            Place::Line(inner.line())
        };
        FileError::Invalid {
            path: PathBuf::from(path),
            place,
            key,
            problem: inner.to_string(),
        }
    })
}

/// SHA-256 of an input, in hexadecimal.
pub fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
