//! A TOML text with overrides applied, which still knows the line of every key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};

use crate::error::{FileError, Place, nearest, position};

/// A TOML file as text and as a tree of values.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    value: toml::Value,
    overrides: Vec<(Vec<String>, String)>,
}

impl Source {
    /// Parses `text`, which came from the file `path`, and applies `overrides`, each of the form
    /// `key.path=value`; a number in the path indexes an array.
    ///
    /// # Errors
    /// If the text is not TOML, or an override names no place in it.
    pub fn parse(path: &Path, text: String, overrides: &[String]) -> Result<Source, FileError> {
        let value: toml::Table = toml::from_str(&text).map_err(|error| FileError::Syntax {
            path: path.to_owned(),
            place: error
                .span()
                .map_or(Place::File, |s| Place::Line(line_of(&text, s.start))),
            problem: error.message().to_owned(),
        })?;
        let mut source = Source {
            path: path.to_owned(),
            text,
            value: toml::Value::Table(value),
            overrides: Vec::new(),
        };
        for item in overrides {
            source.apply(item)?;
        }
        Ok(source)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the file, without the overrides.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the tree as `T`.
    ///
    /// # Errors
    /// The first key that is unknown or has an unfit value, with its line.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        serde_path_to_error::deserialize(self.value.clone()).map_err(|error| {
            let keys: Vec<String> = error
                .path()
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Seq { index } => Some(index.to_string()),
                    Segment::Map { key } | Segment::Enum { variant: key } => Some(key.clone()),
                    Segment::Unknown => None,
                })
                .collect();
            let message = error.inner().message().to_owned();
            self.invalid_at(keys, &message)
        })
    }

    /// An error about the key `key` (dotted), with the line on which it stands.
    pub fn invalid(&self, key: &str, problem: impl Into<String>) -> FileError {
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        FileError::Invalid {
            path: self.path.clone(),
            place: self.locate(&keys),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// An error about a version of the format other than those `known`.
    pub fn unknown_format(&self, found: u32, known: &'static str) -> FileError {
        FileError::Format {
            path: self.path.clone(),
            place: self.locate(&["format".to_owned()]),
            found,
            known,
        }
    }

    /// Where the key `key` (dotted) stands, for a message: ``file:line: `key` ``.
    pub fn position(&self, key: &str) -> String {
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        format!("{}: `{key}`", position(&self.path, &self.locate(&keys)))
    }

    /// The line of the deepest part of the path that stands in the file.
    fn locate(&self, keys: &[String]) -> Place {
        if let Some((_, text)) = self
            .overrides
            .iter()
            .rev()
            .find(|(k, _)| keys.starts_with(k))
        {
            return Place::Override(text.clone());
        }
        let Ok(root) = DeTable::parse(&self.text) else {
            return Place::File;
        };
        let mut at = None;
        let mut here: Option<&DeValue<'_>> = None;
        for key in keys {
            let next = match here {
                None => root.get_ref().get_key_value(key.as_str()),
                Some(DeValue::Table(table)) => table.get_key_value(key.as_str()),
                Some(DeValue::Array(array)) => {
                    let Some(item) = key.parse().ok().and_then(|i: usize| array.get(i)) else {
                        break;
                    };
                    at = Some(item.span().start);
                    here = Some(item.get_ref());
                    continue;
                }
                Some(_) => break,
            };
            let Some((name, value)) = next else { break };
            at = Some(name.span().start);
            here = Some(value.get_ref());
        }
        at.map_or(Place::File, |offset| {
            Place::Line(line_of(&self.text, offset))
        })
    }

    fn invalid_at(&self, mut keys: Vec<String>, message: &str) -> FileError {
        let problem = match unknown_name(message) {
            Some((what, found, allowed)) => {
                if what == "field" && keys.last().is_none_or(|last| last != found) {
                    keys.push(found.to_owned());
                }
                let kind = if what == "field" {
                    "unknown key"
                } else {
                    "unknown value"
                };
                let hint = nearest(found, allowed.iter().copied())
                    .map(|name| format!(", did you mean `{name}`?"))
                    .unwrap_or_default();
                format!("{kind} `{found}`{hint} (allowed: {})", allowed.join(", "))
            }
            // What the parser says where a choice is wanted and a number found.
            None if message.starts_with("invalid type: unit variant") => {
                "must be a word in quotes, or a table with one as its key".to_owned()
            }
            None => message.trim_end().to_owned(),
        };
        let key = if keys.is_empty() {
            "(top level)".to_owned()
        } else {
            keys.join(".")
        };
        FileError::Invalid {
            path: self.path.clone(),
            place: self.locate(&keys),
            key,
            problem,
        }
    }

    fn apply(&mut self, item: &str) -> Result<(), FileError> {
        let wrong = |problem: String| FileError::Override {
            text: item.to_owned(),
            problem,
        };
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| wrong("write it as key.path=value".to_owned()))?;
        let keys: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        let mut here = &mut self.value;
        for (depth, key) in keys.iter().enumerate() {
            let parent = keys[..depth].join(".");
            here = match here {
                toml::Value::Table(table) => table
                    .entry(key.clone())
                    .or_insert_with(|| toml::Value::Table(toml::Table::new())),
                toml::Value::Array(array) => {
                    let n = array.len();
                    key.parse()
                        .ok()
                        .and_then(|i: usize| array.get_mut(i))
                        .ok_or_else(|| {
                            wrong(format!(
                                "`{parent}` is a list of {n}, `{key}` is no index into it"
                            ))
                        })?
                }
                _ => {
                    return Err(wrong(format!(
                        "`{parent}` is a value and has no key `{key}`"
                    )));
                }
            };
        }
        *here = literal(value.trim());
        self.overrides.push((keys, item.to_owned()));
        Ok(())
    }
}

/// The value of an override: TOML where it is TOML, otherwise a string (`over=gdr`).
fn literal(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.trim_matches('"').to_owned()))
}

/// The line, from one, in which the byte `offset` stands.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

/// Takes serde's ``unknown field `x`, expected one of `a`, `b` `` apart.
fn unknown_name(message: &str) -> Option<(&str, &str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown ")?;
    let what = ["field", "variant"]
        .into_iter()
        .find(|what| rest.starts_with(what))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let found = quoted.next()?;
    Some((what, found, quoted.collect()))
}
