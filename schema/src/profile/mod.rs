//! Profiles: what each part costs, with its uncertainty and where the figure came from.
//!
//! A part (a host, a link) has *costs*, laws that give a time from one driver (bytes, the size of
//! a batch, …), and *parameters*, plain numbers. A cost is
//! `(base + slope · driver) · residual`, the residual a random factor of mean one.

mod draw;
mod law;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{FileError, suggest};
use crate::gpu::GpuNet;
use crate::scenario::Source;

pub use law::*;
pub use names::{cost, parameter};

/// The version of the profile format that this program reads and writes.
pub const PROFILE_FORMAT: u32 = 1;

/// The cost of each part, by the part's name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// Version of the format.
    pub format: u32,
    /// Name of the profile.
    pub name: String,
    /// The runs that it was fitted to: the id of each ([`Manifest::id`](crate::run::Manifest::id))
    /// by the name that the `source` of a figure says. A comparison with one of them proves nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fitted_to: BTreeMap<String, String>,
    /// Directions in which numbers of the parts may be off together, as one fit leaves them open, by
    /// name; see [`Profile::drawn`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spread: BTreeMap<String, Direction>,
    /// The parts.
    pub parts: BTreeMap<String, Part>,
}

/// By what the logarithms of some numbers change together with a standard error along this direction.
///
/// A number has the name that its stream has: `PART/PARAMETER`; `PART/COST/base` and `PART/COST/slope`,
/// and with a law of caches `PART/COST/slowdown` and `PART/COST/cache`; `PART/NET` for all that a net
/// takes; `PART/NET/N/base` and `PART/NET/N/slope` for the compute of its phase `N`, if that is affine.
pub type Direction = BTreeMap<String, f64>;

/// A host, a link, a GPU or a network adapter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Plain numbers, by name; see [`parameter`].
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// Laws, by the key of the cost; see [`cost`].
    #[serde(default)]
    pub costs: BTreeMap<String, CostLaw>,
    /// What nets cost on it, by [`Work::key`](crate::scenario::Work::key); of a GPU only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nets: BTreeMap<String, GpuNet>,
}

/// What a part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// A machine, or its share that a scenario calls a host.
    Host,
    /// What joins two hosts.
    Link,
    /// A GPU of a host, with its way to the host's memory.
    Gpu,
    /// A network adapter of a host that does RDMA, with its way to the host's memory.
    Nic,
}

impl PartKind {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            PartKind::Host => "host",
            PartKind::Link => "link",
            PartKind::Gpu => "gpu",
            PartKind::Nic => "nic",
        }
    }
}

/// A fitted number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Parameter {
    /// The estimate.
    pub value: f64,
    /// Standard error of the estimate, in the same unit.
    pub standard_error: f64,
    /// Its unit; `1` if it has none.
    pub unit: String,
    /// Smallest and largest value that is plausible, around the estimate; not known if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Where it came from: runs, a data sheet, a paper.
    pub source: String,
}

/// What a scenario needs and a profile does not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such part.
    #[error("{wanted_by}: profile `{profile}` has no part `{part}`{hint}")]
    NoPart {
        /// File, line and key that ask for it.
        wanted_by: String,
        /// The profile.
        profile: String,
        /// The part.
        part: String,
        /// The parts it has.
        hint: String,
    },
    /// The part lacks a cost.
    #[error("{wanted_by}: part `{part}` of profile `{profile}` has no cost `{cost}`{hint}")]
    NoCost {
        /// File, line and key that ask for it.
        wanted_by: String,
        /// The profile.
        profile: String,
        /// The part.
        part: String,
        /// The cost.
        cost: String,
        /// The costs it has.
        hint: String,
    },
}

impl Profile {
    /// Reads the profile in the file `path`.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid profile.
    pub fn load(path: &Path) -> Result<Profile, FileError> {
        Profile::read(path).map(|(profile, _)| profile)
    }

    fn read(path: &Path) -> Result<(Profile, Source), FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Profile::parse_with_source(path, text)
    }

    /// Reads the profiles in all these files as one, with the parts of all and their names joined by
    /// `+`; `None` if there is no file.
    ///
    /// # Errors
    /// If a file cannot be read or is not a valid profile, or if two have different parts of one name.
    pub fn load_all(paths: &[PathBuf]) -> Result<Option<Profile>, FileError> {
        let mut all: Option<Profile> = None;
        let mut known: BTreeMap<String, &Path> = BTreeMap::new();
        for path in paths {
            let (one, source) = Profile::read(path)?;
            let Some(all) = &mut all else {
                let parts = one.parts.keys().map(|part| (part.clone(), path.as_path()));
                known.extend(parts);
                all = Some(one);
                continue;
            };
            for (name, part) in one.parts {
                if all.parts.get(&name).is_some_and(|other| *other != part) {
                    let problem = format!(
                        "is another part than that of {}; give one of the two another name",
                        known[&name].display()
                    );
                    return Err(source.invalid(&format!("parts.{name}"), problem));
                }
                known.entry(name.clone()).or_insert(path.as_path());
                all.parts.insert(name, part);
            }
            for (name, direction) in one.spread {
                if all
                    .spread
                    .get(&name)
                    .is_some_and(|other| *other != direction)
                {
                    let problem = "another profile has a direction of this name";
                    return Err(source.invalid(&format!("spread.{name}"), problem));
                }
                all.spread.insert(name, direction);
            }
            all.name = format!("{}+{}", all.name, one.name);
            all.fitted_to.extend(one.fitted_to);
        }
        Ok(all)
    }

    /// Reads the profile in `text`, which is said to come from `path`.
    ///
    /// # Errors
    /// If it is not a valid profile.
    pub fn parse(path: &Path, text: String) -> Result<Profile, FileError> {
        Profile::parse_with_source(path, text).map(|(profile, _)| profile)
    }

    fn parse_with_source(path: &Path, text: String) -> Result<(Profile, Source), FileError> {
        let source = Source::parse(path, text, &[])?;
        let profile: Profile = source.read()?;
        if profile.format != PROFILE_FORMAT {
            return Err(source.unknown_format(profile.format, "1"));
        }
        for (name, part) in &profile.parts {
            for (which, parameter) in &part.parameters {
                parameter.check().map_err(|problem| {
                    let key = format!("parts.{name}.parameters.{which}.range");
                    source.invalid(&key, problem)
                })?;
            }
            if part.kind != PartKind::Gpu && !part.nets.is_empty() {
                let found = part.kind.name();
                let problem = format!("only a part of kind `gpu` has nets, found `{found}`");
                return Err(source.invalid(&format!("parts.{name}.nets"), problem));
            }
            for (which, law) in &part.costs {
                let key = format!("parts.{name}.costs.{which}");
                let is_delay = which == cost::WAKEUP || which.starts_with("delay/");
                if law.idle.is_some() && is_delay {
                    let problem = "is a delay; only core time is slower after idling";
                    return Err(source.invalid(&format!("{key}.idle"), problem));
                }
                if law.working_set.is_some() && (part.kind != PartKind::Host || is_delay) {
                    let problem =
                        "only core time of a host is slower while requests fill its caches";
                    return Err(source.invalid(&format!("{key}.working-set"), problem));
                }
                law.check()
                    .map_err(|problem| source.invalid(&key, problem))?;
            }
            for (which, net) in &part.nets {
                net.check().map_err(|(below, problem)| {
                    source.invalid(&format!("parts.{name}.nets.{which}.{below}"), problem)
                })?;
            }
        }
        let numbers = profile.numbers();
        for (name, direction) in &profile.spread {
            let key = format!("spread.{name}");
            for (number, change) in direction {
                if !numbers.contains(number) {
                    let hint = suggest(number, numbers.iter().map(String::as_str));
                    let problem = format!("no part has the number `{number}`{hint}");
                    return Err(source.invalid(&key, problem));
                }
                if !change.is_finite() {
                    let problem = format!("changes must be finite, found {change} of `{number}`");
                    return Err(source.invalid(&key, problem));
                }
            }
        }
        Ok((profile, source))
    }

    /// The profile as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a profile can be written as TOML")
    }

    /// Writes the profile to the file `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        std::fs::write(path, self.to_toml()).map_err(|source| FileError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// The part called `name`, which `wanted_by` (file, line and key) asks for.
    ///
    /// # Errors
    /// If there is none.
    pub fn part(&self, name: &str, wanted_by: &str) -> Result<&Part, ProfileError> {
        self.parts.get(name).ok_or_else(|| ProfileError::NoPart {
            wanted_by: wanted_by.to_owned(),
            profile: self.name.clone(),
            part: name.to_owned(),
            hint: suggest(name, self.parts.keys().map(String::as_str)),
        })
    }

    /// The cost `key` of the part `name`, which `wanted_by` (file, line and key) asks for.
    ///
    /// # Errors
    /// If there is no such part, or it lacks the cost.
    pub fn cost(&self, name: &str, key: &str, wanted_by: &str) -> Result<&CostLaw, ProfileError> {
        let part = self.part(name, wanted_by)?;
        part.costs.get(key).ok_or_else(|| ProfileError::NoCost {
            wanted_by: wanted_by.to_owned(),
            profile: self.name.clone(),
            part: name.to_owned(),
            cost: key.to_owned(),
            hint: suggest(key, part.costs.keys().map(String::as_str)),
        })
    }
}

impl Parameter {
    /// What is wrong with its range, if anything.
    fn check(&self) -> Result<(), String> {
        let Some(range) = self.range else {
            return Ok(());
        };
        check_range(range)?;
        let ([low, high], value) = (range, self.value);
        if low <= value && value <= high {
            return Ok(());
        }
        Err(format!(
            "must hold the value, {value}; found {low} to {high}"
        ))
    }
}

/// What is wrong with a range, if anything.
pub(crate) fn check_range([low, high]: [f64; 2]) -> Result<(), String> {
    if low.is_finite() && high.is_finite() && low <= high {
        return Ok(());
    }
    Err(format!(
        "must be two finite numbers, the smaller first; found {low} and {high}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Transport;

    #[test]
    fn a_profile_reads_back_what_it_wrote() {
        let costs = BTreeMap::from([(
            cost::send(Transport::Tcp),
            CostLaw {
                residual: Residual::Quantiles(vec![0.9, 1.1]),
                ..CostLaw::exact(Driver::Bytes, 2.65e-6, 1.0 / 12.2e9, "V100 copy")
            },
        )]);
        let part = Part {
            kind: PartKind::Host,
            parameters: BTreeMap::new(),
            costs,
            nets: BTreeMap::new(),
        };
        let spread = [("this/send/tcp/base".to_owned(), 0.5)];
        let profile = Profile {
            format: PROFILE_FORMAT,
            name: "test".to_owned(),
            fitted_to: BTreeMap::from([("runs/net".to_owned(), "5e1f".to_owned())]),
            spread: BTreeMap::from([("fit 1".to_owned(), spread.into())]),
            parts: BTreeMap::from([("this".to_owned(), part)]),
        };
        let read = Profile::parse(Path::new("p.toml"), profile.to_toml()).unwrap();
        assert_eq!(read, profile);
    }

    #[test]
    fn errors_name_what_is_there() {
        let part = Part {
            kind: PartKind::Host,
            parameters: BTreeMap::new(),
            costs: BTreeMap::new(),
            nets: BTreeMap::new(),
        };
        let parts = BTreeMap::from([("a100".to_owned(), part)]);
        let profile = Profile {
            format: 1,
            name: "lab".to_owned(),
            fitted_to: BTreeMap::new(),
            spread: BTreeMap::new(),
            parts,
        };
        let missing = profile
            .part("a10", "a.toml:7: `hosts.server.part`")
            .unwrap_err();
        insta::assert_snapshot!(missing, @"a.toml:7: `hosts.server.part`: profile `lab` has no part `a10`, did you mean `a100`? (allowed: a100)");
        let missing = profile
            .cost("a100", "h2d", "a.toml:7: `hosts.server.part`")
            .unwrap_err();
        insta::assert_snapshot!(missing, @"a.toml:7: `hosts.server.part`: part `a100` of profile `lab` has no cost `h2d` (allowed: (none))");
    }
}
