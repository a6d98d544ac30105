//! Plausible profiles: every number drawn within what is known of it.

use crate::gpu::GpuNet;
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
    ///
    /// A parameter without standard error is a setting or exact, and stays; so do memory and what
    /// contexts take of it, which decide whether a scenario fits and not how long it takes.
    pub fn drawn(&self, seed: Seed) -> Profile {
        let mut profile = self.clone();
        for (name, part) in &mut profile.parts {
            draw_part(part, &|number| {
                uniform(&mut stream(seed, &format!("profile/{name}/{number}")))
            });
        }
        profile
    }
}

/// Draws the numbers of a part; `u` gives each, by name, a uniform number between 0 and 1.
fn draw_part(part: &mut Part, u: &dyn Fn(&str) -> f64) {
    for (name, parameter) in &mut part.parameters {
        if ![parameter::MEMORY, parameter::CONTEXT_MEMORY].contains(&name.as_str()) {
            draw_parameter(parameter, u(name));
        }
    }
    for (name, law) in &mut part.costs {
        draw_cost(law, u(&format!("{name}/base")), u(&format!("{name}/slope")));
    }
    for (name, net) in &mut part.nets {
        let factor = factor(net.held_out_error, u(name));
        scale(net, factor);
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

fn draw_cost(law: &mut CostLaw, u_base: f64, u_slope: f64) {
    let relative = |error: f64, value: f64| {
        if value == 0.0 {
            0.0
        } else {
            (error / value).abs()
        }
    };
    law.base *= factor(relative(law.base_error, law.base), u_base);
    law.slope *= factor(relative(law.slope_error, law.slope), u_slope);
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
            draw_cost(&mut drawn, u, u);
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
}
