//! Profiles and studies as files.

use std::fmt::Write;

use schema::profile::Profile;

use super::File;
use crate::gpu::parts::significant;

/// What a file says first.
const HEAD: &str = "# Written by `cargo run --release -p tandem-calibrate --example published_studies -- scenarios`.\n";

/// A profile in its file.
pub(super) fn profile_file(path: &'static str, profile: &Profile) -> File {
    let text = format!(
        "{HEAD}# How it was fitted: calibrate/METHODOLOGY.md.\n{}",
        profile.to_toml()
    );
    File { path, text }
}

/// A level of a study.
pub(super) struct Level {
    pub(super) label: String,
    /// The value of `set`.
    pub(super) set: String,
    /// The key of what was measured, and its value.
    pub(super) measured: String,
    /// Which of its figures scatters, and by how much ([`crate::spread::scatter`]).
    pub(super) scatter: (&'static str, f64),
    pub(super) is_held_out: bool,
}

/// A study of one factor.
pub(super) struct Study<'a> {
    pub(super) path: &'static str,
    pub(super) name: &'a str,
    pub(super) about: &'a [&'a str],
    pub(super) scenario: &'a str,
    pub(super) profiles: &'a [&'a str],
    /// Keys of the scenario at every level, and their values.
    pub(super) set: &'a str,
    pub(super) factor: &'a str,
    /// Profiles that are drawn for the intervals.
    pub(super) draws: u32,
}

impl Study<'_> {
    /// It with these levels, in its file. Nothing in it is random but the profiles, so replications are the
    /// fewest.
    pub(super) fn file(&self, levels: &[Level]) -> File {
        let Study { path, name, .. } = *self;
        let quoted = |all: &[&str], between: &str| {
            let all: Vec<String> = all.iter().map(|text| format!("\"{text}\"")).collect();
            all.join(between)
        };
        let mut text = format!(
            "{HEAD}format = 1\nname = \"{name}\"\nabout = [\n    {},\n]\nscenario = \"{}\"\nprofiles = [{}]\nreplications = 2\nintervals = {{ prediction = {{ draws = {} }} }}\nset = {{ {} }}\n\n[[factors]]\nname = \"{}\"\nlevels = [\n",
            quoted(self.about, ",\n    "),
            self.scenario,
            quoted(self.profiles, ", "),
            self.draws,
            self.set,
            self.factor,
        );
        for level in levels {
            let held_out = if level.is_held_out {
                ", held-out = true"
            } else {
                ""
            };
            let (metric, scatter) = level.scatter;
            let scatter = significant(scatter);
            writeln!(
                text,
                "    {{ label = \"{}\", set = {{ {} }}, {}, scatter = {{ {metric} = {scatter} }}{held_out} }},",
                level.label, level.set, level.measured
            )
            .expect("text can be written to");
        }
        text += "]\n";
        File { path, text }
    }
}

/// A time as a quantity, in a unit of so many seconds.
pub(super) fn time(seconds: f64, unit: f64, name: &str) -> String {
    let text = format!("{:.5}", seconds / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("\"{text} {name}\"")
}
