//! Numbers as text.

/// A unit of time for an axis or a column.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct TimeUnit {
    /// Its symbol.
    pub(crate) symbol: &'static str,
    /// How many of it are a second.
    pub(crate) per_second: f64,
}

impl TimeUnit {
    /// The unit in which `largest` seconds is a number from 1 to 1000, between µs and s.
    pub(crate) fn of(largest: f64) -> TimeUnit {
        let (symbol, per_second) = if largest < 1e-3 {
            ("µs", 1e6)
        } else if largest < 1.0 {
            ("ms", 1e3)
        } else {
            ("s", 1.0)
        };
        TimeUnit { symbol, per_second }
    }
}

/// Three significant digits, more only before the point: `12345`, `123`, `1.23`, `0.0123`.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0" } else { "–" }.to_owned();
    }
    // Rounded first, for 9.996 has one digit before the point and 10.0 has two.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let magnitude = rounded.abs().log10().floor() as i32;
    let decimals = usize::try_from((2 - magnitude).max(0)).unwrap_or(0);
    minus(format!("{value:.decimals$}"))
}

/// A time with its unit, such as `12.3 ms`.
pub(crate) fn time(seconds: f64) -> String {
    let unit = TimeUnit::of(seconds.abs());
    let number = significant(seconds * unit.per_second);
    if seconds.is_finite() {
        format!("{number} {}", unit.symbol)
    } else {
        number
    }
}

/// A fraction as signed percent, such as `+3.1%`.
pub(crate) fn signed_percent(fraction: f64) -> String {
    if !fraction.is_finite() {
        return "–".to_owned();
    }
    minus(format!("{:+.1}%", 100.0 * fraction))
}

/// The number with decimals as a tick of `step` needs them.
pub(crate) fn tick(value: f64, step: f64) -> String {
    let decimals = usize::try_from(-(step.log10() + 1e-9).floor() as i32).unwrap_or(0);
    // Adding zero turns -0.0 into 0.0.
    minus(format!("{:.decimals$}", value + 0.0))
}

/// The text with a minus sign in place of the hyphen.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept() {
        let texts: Vec<String> = [12_345.0, 123.4, 9.996, 1.234, 0.012_34, -0.5, 0.0]
            .into_iter()
            .map(significant)
            .collect();
        assert_eq!(
            texts,
            ["12345", "123", "10.0", "1.23", "0.0123", "−0.500", "0"]
        );
    }

    #[test]
    fn times_choose_their_unit() {
        assert_eq!(time(0.012_34), "12.3 ms");
        assert_eq!(time(2e-6), "2.00 µs");
        assert_eq!(time(f64::NAN), "–");
    }

    #[test]
    fn ticks_have_the_decimals_of_their_step() {
        assert_eq!(tick(0.30000000000000004, 0.1), "0.3");
        assert_eq!(tick(20.0, 5.0), "20");
        assert_eq!(tick(-0.0, 0.25), "0.0");
    }
}
