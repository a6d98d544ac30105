//! Published measurements as validation studies.
//!
//! Of each, some points are held out, by the rule of the tests that judge the law: what is left is
//! fitted and becomes a profile, and a study lays points of both kinds beside what the engine finds
//! with it. Points of nets are in folds by a hash of what names them ([`fold_of`]), of which the first is
//! held out, and of each kind every so many are shown (`Shown`). The example `published_studies`
//! writes the files.
//!
//! What is left out: points are means, or typical times, so nothing is said of how they vary.

mod adapter;
mod bench;
mod language;
mod pairs;
mod study;

use crate::gpu::fit::FitError;
use crate::gpu::held_out::fold_of;
use crate::gpu::tables::{TableError, a100_llama, v100_pairs, v100_solo};
use crate::nic::{self, NicFitError};

use adapter::adapter;
use language::a100;
use pairs::v100;

/// Which points of a table a study shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shown {
    /// Fewest and most folds of the fits that it is about, the latter a multiple of the former: the first
    /// fold of the most is held out from every fit, and what is not in the first of the fewest from none.
    folds: [usize; 2],
    /// Of how many points that are held out from every fit one is shown, and of how many that are held
    /// out from none, each in the order of the table.
    every: [usize; 2],
}

impl Shown {
    /// For each point with these names whether it is held out, or `None` if it is not shown.
    fn of(self, names: impl IntoIterator<Item = String>) -> Vec<Option<bool>> {
        let [fewest, most] = self.folds;
        let mut seen = [0, 0];
        let marks = names.into_iter().map(|name| {
            let is_held_out = fold_of(&name, most) == 0;
            if !is_held_out && fold_of(&name, fewest) == 0 {
                return None;
            }
            let kind = usize::from(!is_held_out);
            seen[kind] += 1;
            ((seen[kind] - 1) % self.every[kind] == 0).then_some(is_held_out)
        });
        marks.collect()
    }
}

/// Of nets on a V100, alone and in pairs.
const OF_V100: Shown = Shown {
    folds: [2, 2],
    every: [8, 8],
};
/// Of language nets. Half of the prefills is held out, but an eighth of the decode steps, since half does
/// not tell the terms of every net apart.
const OF_A100: Shown = Shown {
    folds: [2, 8],
    every: [2, 8],
};

/// A file of a scenario folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Where it belongs, relative to the folder.
    pub path: &'static str,
    /// What is in it.
    pub text: String,
}

/// Why there is no study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A net cannot be fitted.
    #[error(transparent)]
    Net(#[from] FitError),
    /// A network adapter cannot be fitted.
    #[error(transparent)]
    Nic(#[from] NicFitError),
}

/// Every profile and study.
///
/// # Errors
/// If a table cannot be read or fitted; they can.
pub fn files() -> Result<Vec<File>, StudyError> {
    let mut files = Vec::from(adapter(&nic::cx6()?)?);
    files.extend(a100(&a100_llama())?);
    files.extend(v100(&v100_solo(), &v100_pairs())?);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::language::token_name;
    use super::pairs::{pair_name, share_name};
    use super::*;
    use crate::gpu::tables::V100_NETS;

    /// All files from tables in which the shown points that are `held_out`, or else those that are not,
    /// took a tenth longer.
    fn with_longer(held_out: bool) -> Vec<File> {
        let factor = |is_it: bool| if is_it { 1.1 } else { 1.0 };
        let mut sizes = nic::cx6().unwrap();
        for (index, point) in sizes.iter_mut().enumerate() {
            point.time *= factor((index % 2 == 0) == held_out);
        }
        let mut nets = a100_llama();
        for net in &mut nets {
            let marks = OF_A100.of(net.points.iter().map(|p| token_name(net, p)));
            for (p, mark) in net.points.iter_mut().zip(marks) {
                let factor = factor(mark == Some(held_out));
                p.prefill *= factor;
                p.decode *= factor;
            }
        }
        let mut solo = v100_solo();
        for (net, points) in V100_NETS.iter().zip(&mut solo) {
            let marks = OF_V100.of(points.iter().map(|p| share_name(net, p)));
            for (p, mark) in points.iter_mut().zip(marks) {
                p.time *= factor(mark == Some(held_out));
            }
        }
        let mut pairs = v100_pairs();
        let marks = OF_V100.of(pairs.iter().map(pair_name));
        for (p, mark) in pairs.iter_mut().zip(marks) {
            let factor = factor(mark == Some(held_out));
            p.times = p.times.map(|time| factor * time);
        }
        let mut files = Vec::from(adapter(&sizes).unwrap());
        files.extend(a100(&nets).unwrap());
        files.extend(v100(&solo, &pairs).unwrap());
        files
    }

    /// The profiles, without what they say of their errors on points held out, and the scatter of the
    /// studies.
    fn fitted(files: &[File]) -> Vec<String> {
        let (profiles, studies): (Vec<&File>, Vec<&File>) = files
            .iter()
            .partition(|file| file.path.starts_with("profiles/"));
        let scatters = studies.iter().map(|file| {
            let levels = file.text.lines().filter_map(|line| {
                let from = line.find("scatter = ")?;
                Some(line[from..].split('}').next().expect("a part is there"))
            });
            levels.collect::<Vec<_>>().join("\n")
        });
        let scatters: Vec<String> = scatters.collect();
        let lines = profiles.into_iter().map(|file| {
            let lines = file.text.lines();
            let lines: Vec<&str> = lines
                .filter(|line| !line.starts_with("held-out-error"))
                .collect();
            lines.join("\n")
        });
        lines.chain(scatters).collect()
    }

    #[test]
    fn files_are_as_they_were_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        for file in files().unwrap() {
            let found = fs::read_to_string(folder.join(file.path)).unwrap();
            assert!(
                found == file.text,
                "{}: write it again, as its head says",
                file.path
            );
        }
    }

    #[test]
    fn profiles_depend_on_nothing_that_is_held_out_and_on_all_else() {
        let all = fitted(&files().unwrap());
        assert_eq!(all.len(), 7);
        assert_eq!(fitted(&with_longer(true)), all);
        for (other, one) in fitted(&with_longer(false)).iter().zip(&all) {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn studies_show_both_kinds_of_every_table() {
        for file in files().unwrap() {
            if file.path.starts_with("validation/") {
                let levels = file
                    .text
                    .lines()
                    .filter(|line| line.starts_with("    { label"));
                let held_out = levels
                    .clone()
                    .filter(|line| line.contains("held-out = true"));
                let part = held_out.count() as f64 / levels.count() as f64;
                assert!((0.3..0.7).contains(&part), "{}: {part}", file.path);
            }
        }
    }
}
