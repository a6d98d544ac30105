//! Plausible profiles: every number drawn within what is known of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use statrs::distribution::{ContinuousCDF, Normal};

use crate::gpu::{DriverLaw, GpuNet};
use crate::random::{Seed, stream, uniform};
use crate::units::SimDuration;

use super::{CostLaw, Parameter, Part, Profile, parameter};

impl Profile {
    /// A profile that is as plausible as this one: each uncertain number is drawn by itself, from a
    /// stream of `seed` that is named after it, so that profiles and scenarios which share a part share
    /// its draws.
    ///
    /// - A parameter whose standard error is more than zero is drawn from its `range`, or from two
    ///   standard errors either way where it has none, but not from below zero: no parameter is. Its value
    ///   is the median, and each half of the range is uniform, in logarithms where it is positive.
    /// - Base and slope of a cost, and all that a net takes, are multiplied by a factor each, from
    ///   `1 / (1 + 2e)` to `1 + 2e`, uniform in logarithms; `e` is the relative standard error of base
    ///   or slope, and of a net its error on what was held out.
    /// - Numbers that are in a direction of the profile's `spread` are drawn together instead: a standard
    ///   normal deviate for each direction, from a stream that is named after it, times what it changes
    ///   is added to the logarithm of each. All such together are normal, with the covariance of the fit.
    ///
    /// A parameter without standard error is a setting or exact, and stays; so do memory and what
    /// contexts take of it, which decide whether a scenario fits and not how long it takes.
    pub fn drawn(&self, seed: Seed) -> Profile {
        let together = self.together(seed);
        let mut profile = self.clone();
        for (name, part) in &mut profile.parts {
            let of = Draw {
                alone: &|number| uniform(&mut stream(seed, &format!("profile/{name}/{number}"))),
                together: &|number| together.get(&format!("{name}/{number}")).copied(),
            };
            of.part(part);
        }
        profile
    }

    /// What is added to the logarithm of each number that is in a direction.
    fn together(&self, seed: Seed) -> BTreeMap<String, f64> {
        let mut logs = BTreeMap::new();
        for (name, direction) in &self.spread {
            let u = uniform(&mut stream(seed, &format!("profile/spread/{name}")));
            let deviate = Normal::standard().inverse_cdf(u);
            for (number, change) in direction {
                *logs.entry(number.clone()).or_default() += deviate * change;
            }
        }
        logs
    }

    /// The names of all numbers that directions may have.
    pub(super) fn numbers(&self) -> BTreeSet<String> {
        let seen = RefCell::new(BTreeSet::new());
        for (name, part) in &mut self.parts.clone() {
            let of = Draw {
                alone: &|_| 0.5,
                together: &|number| {
                    seen.borrow_mut().insert(format!("{name}/{number}"));
                    None
                },
            };
            of.part(part);
        }
        seen.into_inner()
    }
}

/// How the numbers of a part are drawn, by name.
struct Draw<'a> {
    /// A uniform number between 0 and 1.
    alone: &'a dyn Fn(&str) -> f64,
    /// What is added to the logarithm of a number that is drawn together with others.
    together: &'a dyn Fn(&str) -> Option<f64>,
}

impl Draw<'_> {
    fn part(&self, part: &mut Part) {
        for (name, parameter) in &mut part.parameters {
            if self.move_together(name, &mut parameter.value) {
                continue;
            }
            if ![parameter::MEMORY, parameter::CONTEXT_MEMORY].contains(&name.as_str()) {
                draw_parameter(parameter, (self.alone)(name));
            }
        }
        for (name, law) in &mut part.costs {
            self.cost(name, law);
        }
        for (name, net) in &mut part.nets {
            self.net(name, net);
        }
    }

    /// Draws a number together with others, if it is in a direction.
    fn move_together(&self, name: &str, number: &mut f64) -> bool {
        let log = (self.together)(name);
        if let Some(log) = log {
            *number *= log.exp();
        }
        log.is_some()
    }

    fn cost(&self, name: &str, law: &mut CostLaw) {
        let relative = |error: f64, value: f64| {
            if value == 0.0 {
                0.0
            } else {
                (error / value).abs()
            }
        };
        let numbers = [
            ("base", &mut law.base, law.base_error),
            ("slope", &mut law.slope, law.slope_error),
        ];
        for (which, value, error) in numbers {
            let name = format!("{name}/{which}");
            if !self.move_together(&name, value) {
                *value *= factor(relative(error, *value), (self.alone)(&name));
            }
        }
        if let Some(caches) = &mut law.working_set {
            self.move_together(&format!("{name}/slowdown"), &mut caches.slowdown);
            self.move_together(&format!("{name}/cache"), &mut caches.cache);
        }
    }

    fn net(&self, name: &str, net: &mut GpuNet) {
        let mut is_drawn = false;
        for (index, phase) in net.phases.iter_mut().enumerate() {
            if let DriverLaw::Affine { base, slope, .. } = &mut phase.compute {
                is_drawn |= self.move_together(&format!("{name}/{index}/base"), base);
                is_drawn |= self.move_together(&format!("{name}/{index}/slope"), slope);
            }
        }
        match (self.together)(name) {
            Some(log) => scale(net, log.exp()),
            None if is_drawn => {}
            None => scale(net, factor(net.held_out_error, (self.alone)(name))),
        }
    }
}

fn draw_parameter(parameter: &mut Parameter, u: f64) {
    if parameter.standard_error <= 0.0 {
        return;
    }
    let (value, within) = (parameter.value, 2.0 * parameter.standard_error);
    let [low, high] = (parameter.range).unwrap_or([(value - within).max(0.0), value + within]);
    parameter.value = if u < 0.5 {
        between(low, value, 2.0 * u)
    } else {
        between(value, high, 2.0 * u - 1.0)
    };
}

/// From `low` to `high` by `share`, in logarithms where both are positive.
fn between(low: f64, high: f64, share: f64) -> f64 {
    if low > 0.0 {
        low * (high / low).powf(share)
    } else {
        low + share * (high - low)
    }
}

/// From `1 / (1 + 2 error)` to `1 + 2 error`.
fn factor(error: f64, u: f64) -> f64 {
    (1.0 + 2.0 * error).powf(2.0 * u - 1.0)
}

/// All that a net takes, `factor` times as long.
fn scale(net: &mut GpuNet, factor: f64) {
    let longer = |number: f64| number * factor;
    net.floor.map(longer);
    for phase in &mut net.phases {
        for law in [&mut phase.overhead, &mut phase.compute, &mut phase.bytes] {
            law.map(longer);
        }
    }
    for kernel in &mut net.kernels {
        kernel.time = SimDuration::from_secs_f64(kernel.time.as_secs_f64() * factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Driver;

    fn parameter(value: f64, standard_error: f64, range: Option<[f64; 2]>) -> Parameter {
        Parameter {
            value,
            standard_error,
            unit: "B/s".to_owned(),
            range,
            source: String::new(),
        }
    }

    #[test]
    fn a_parameter_is_within_its_range_with_its_value_as_the_median() {
        let at = |u: f64| {
            let mut drawn = parameter(4e9, 1e9, Some([1e9, 5e9]));
            draw_parameter(&mut drawn, u);
            drawn.value
        };
        for (u, value) in [(0.0, 1e9), (0.5, 4e9), (1.0, 5e9)] {
            assert!((at(u) - value).abs() < 1.0, "{u}: {}", at(u));
        }
        assert!((at(0.25) - 2e9).abs() < 1.0, "{}", at(0.25));
        let mut no_range = parameter(10.0, 1.0, None);
        draw_parameter(&mut no_range, 1.0);
        assert!((no_range.value - 12.0).abs() < 1e-9);
        let mut at_zero = parameter(0.0, 0.1, None);
        draw_parameter(&mut at_zero, 0.1);
        assert!(at_zero.value.abs() < f64::EPSILON, "{}", at_zero.value);
        let mut exact = parameter(10.0, 0.0, Some([1.0, 20.0]));
        draw_parameter(&mut exact, 0.9);
        assert!((exact.value - 10.0).abs() < f64::EPSILON);
        let mut from_zero = parameter(0.05, 0.1, Some([0.0, 0.3]));
        draw_parameter(&mut from_zero, 0.25);
        assert!((from_zero.value - 0.025).abs() < 1e-12);
    }

    #[test]
    fn costs_of_half_an_error_are_within_a_factor_of_two() {
        let law = CostLaw {
            base_error: 1e-6,
            ..CostLaw::exact(Driver::Bytes, 2e-6, 1e-10, "test")
        };
        for (u, base) in [(0.0, 1e-6), (0.5, 2e-6), (1.0, 4e-6)] {
            let mut drawn = law.clone();
            let of = Draw {
                alone: &|_| u,
                together: &|_| None,
            };
            of.cost("a", &mut drawn);
            assert!((drawn.base - base).abs() < 1e-15, "{u}: {}", drawn.base);
            assert!((drawn.slope - law.slope).abs() < 1e-20);
        }
    }

    #[test]
    fn parts_of_one_name_are_drawn_alike_whatever_else_a_profile_has() {
        let part = |text: &str| {
            let text = format!("format = 1\nname = \"a\"\n{text}");
            Profile::parse(std::path::Path::new("a.toml"), text).unwrap()
        };
        let one = "[parts.nic]\nkind = \"nic\"\n[parts.nic.parameters.burst]\nvalue = 8192\nstandard-error = 100.0\nunit = \"B\"\nsource = \"\"\n";
        let two = format!("{one}[parts.other]\nkind = \"host\"\n");
        let drawn = part(one).drawn(Seed(3));
        assert_eq!(drawn.parts["nic"], part(&two).drawn(Seed(3)).parts["nic"]);
        assert_ne!(drawn.parts["nic"], part(one).drawn(Seed(4)).parts["nic"]);
        let value = drawn.parts["nic"].parameters["burst"].value;
        assert!((7992.0..=8392.0).contains(&value), "{value}");
    }

    /// A host with one cost, and two directions in which it may be off.
    const TOGETHER: &str = r#"format = 1
name = "a"
[spread]
first = { "host/prepare/base" = 0.1, "host/prepare/slope" = -0.1 }
second = { "host/prepare/slope" = 0.05 }
[parts.host]
kind = "host"
[parts.host.costs.prepare]
per = "bytes"
base = 1.0
base-error = 0.5
slope = 2.0
slope-error = 0.5
range = [0, 1]
samples = 9
held-out-error = 0
source = ""
residual = "none"
"#;

    fn parsed(text: String) -> Result<Profile, crate::error::FileError> {
        Profile::parse(std::path::Path::new("a.toml"), text)
    }

    #[test]
    fn numbers_of_a_direction_are_drawn_together() {
        let profile = parsed(TOGETHER.to_owned()).unwrap();
        let draws = (0..4000).map(|index| {
            let drawn = profile.drawn(Seed(1).replication(index));
            let law = &drawn.parts["host"].costs["prepare"];
            [law.base.ln(), (law.slope / 2.0).ln()]
        });
        let draws: Vec<[f64; 2]> = draws.collect();
        let product = |i: usize, j: usize| {
            let all = draws.iter().map(|logs| logs[i] * logs[j]);
            all.sum::<f64>() / draws.len() as f64
        };
        // Variances and covariance, of which a sample of 4000 is off by some 2%.
        for (found, is) in [
            (product(0, 0), 0.01),
            (product(1, 1), 0.0125),
            (product(0, 1), -0.01),
        ] {
            assert!((found / is - 1.0).abs() < 0.1, "{found} {is}");
        }
    }

    #[test]
    fn a_direction_of_numbers_that_are_not_there_is_refused() {
        let message = |from: &str, to: &str| {
            assert!(TOGETHER.contains(from), "{from}");
            parsed(TOGETHER.replacen(from, to, 1)).unwrap_err()
        };
        insta::assert_snapshot!(message("\"host/prepare/base\"", "\"host/prepare/bas\""), @"a.toml:4: `spread.first`: no part has the number `host/prepare/bas`, did you mean `host/prepare/base`? (allowed: host/prepare/base, host/prepare/slope)");
        insta::assert_snapshot!(message("0.05", "inf"), @"a.toml:5: `spread.second`: changes must be finite, found inf of `host/prepare/slope`");
    }
}
