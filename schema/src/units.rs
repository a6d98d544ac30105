//! Quantities: one unit a type, integers inside, a unit in every file.
//!
//! Time is in picoseconds: one byte at 400 Gbit/s is exactly 20 ps, and a `u64` holds 213 days.
//! K, M, G are powers of ten; Ki, Mi, Gi powers of two. A bare number where a unit belongs is an
//! error.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Picoseconds in a second.
pub const PS_PER_S: u64 = 1_000_000_000_000;

/// An instant of simulated time, in picoseconds since the start of the run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SimTime(u64);

impl SimTime {
    /// The start of the run.
    pub const ZERO: SimTime = SimTime(0);
    /// The last instant that can be represented, 213 days after the start.
    pub const MAX: SimTime = SimTime(u64::MAX);

    /// The instant `ps` picoseconds after the start.
    pub const fn from_ps(ps: u64) -> SimTime {
        SimTime(ps)
    }

    /// Picoseconds since the start.
    pub const fn as_ps(self) -> u64 {
        self.0
    }

    /// Nanoseconds since the start, rounded down (one rule for every date, so order is kept).
    pub const fn as_ns(self) -> u64 {
        self.0 / 1_000
    }

    /// The time that has passed since `earlier`.
    ///
    /// # Panics
    /// If `earlier` is later than `self`: a negative length is a broken invariant.
    pub fn since(self, earlier: SimTime) -> SimDuration {
        SimDuration(
            self.0
                .checked_sub(earlier.0)
                .expect("an interval ends after it starts"),
        )
    }

    /// Seconds since the start; for statistics and figures only.
    pub fn as_secs_f64(self) -> f64 {
        SimDuration(self.0).as_secs_f64()
    }
}

impl Add<SimDuration> for SimTime {
    type Output = SimTime;
    fn add(self, by: SimDuration) -> SimTime {
        SimTime(
            self.0
                .checked_add(by.0)
                .expect("simulated time fits 213 days"),
        )
    }
}

/// A length of time, in picoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SimDuration(u64);

impl SimDuration {
    /// No time at all.
    pub const ZERO: SimDuration = SimDuration(0);

    /// `ps` picoseconds.
    pub const fn from_ps(ps: u64) -> SimDuration {
        SimDuration(ps)
    }

    /// `ns` nanoseconds.
    ///
    /// # Panics
    /// If that is more than 213 days.
    pub const fn from_ns(ns: u64) -> SimDuration {
        SimDuration(ns.checked_mul(1_000).expect("a duration fits 213 days"))
    }

    /// `secs` seconds, rounded once, half up, to a picosecond. Negative values and NaN give zero:
    /// a fitted law may dip below zero near its origin, and a cost cannot.
    ///
    /// # Panics
    /// If that is more than 213 days.
    #[inline]
    pub fn from_secs_f64(secs: f64) -> SimDuration {
        let ps = secs * 1e12 + 0.5;
        // Of NaN both the comparison and the conversion make what is wanted here.
        assert!(
            ps.is_nan() || ps < 1.8e19,
            "a duration of {secs} s does not fit 213 days"
        );
        SimDuration(ps as u64)
    }

    /// Picoseconds.
    pub const fn as_ps(self) -> u64 {
        self.0
    }

    /// Whole nanoseconds, rounded down.
    pub const fn as_ns(self) -> u64 {
        self.0 / 1_000
    }

    /// Seconds; for statistics and figures only.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e12
    }
}

impl Add for SimDuration {
    type Output = SimDuration;
    fn add(self, other: SimDuration) -> SimDuration {
        SimDuration(
            self.0
                .checked_add(other.0)
                .expect("a duration fits 213 days"),
        )
    }
}

impl AddAssign for SimDuration {
    fn add_assign(&mut self, other: SimDuration) {
        *self = *self + other;
    }
}

impl std::iter::Sum for SimDuration {
    fn sum<I: Iterator<Item = SimDuration>>(iter: I) -> SimDuration {
        iter.fold(SimDuration::ZERO, Add::add)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number as `usize`.
    ///
    /// # Panics
    /// If this machine cannot address that many bytes.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).expect("a payload fits this machine's memory")
    }
}

/// A rate of data, in bytes per second; Gbit/s only at the border.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ByteRate(u64);

impl ByteRate {
    /// `rate` bytes per second; `None` for zero, over which nothing would ever arrive.
    pub const fn from_bytes_per_s(rate: u64) -> Option<ByteRate> {
        if rate == 0 {
            None
        } else {
            Some(ByteRate(rate))
        }
    }

    /// Bytes per second.
    pub const fn as_bytes_per_s(self) -> u64 {
        self.0
    }

    /// Time to put `size` on a line of this rate, rounded once, half up, to a picosecond.
    pub fn serialization_delay(self, size: Bytes) -> SimDuration {
        let rate = u128::from(self.0);
        let ps = (u128::from(size.0) * u128::from(PS_PER_S) + rate / 2) / rate;
        SimDuration(u64::try_from(ps).expect("a serialization delay fits 213 days"))
    }
}

/// How often something happens, in microhertz (events per 10⁶ seconds).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frequency(u64);

impl Frequency {
    /// Events per second.
    pub fn per_second(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The nearest frequency to `hz` events per second; `None` unless it is positive and finite.
    pub fn from_per_second(hz: f64) -> Option<Frequency> {
        let micro = (hz * 1e6).round();
        (1.0..1e18)
            .contains(&micro)
            .then_some(Frequency(micro as u64))
    }
}

/// Why a text is not the quantity that was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuantityError {
    /// The text does not start with a decimal number.
    #[error("`{text}` is not a number followed by a unit, such as \"{example}\"")]
    NotANumber {
        /// What was given.
        text: String,
        /// A quantity of the right kind.
        example: &'static str,
    },
    /// There is a number, but no unit.
    #[error("`{text}` lacks a unit, write for example \"{text} {unit}\"; units: {units}")]
    NoUnit {
        /// What was given.
        text: String,
        /// The unit most used.
        unit: &'static str,
        /// Every unit allowed.
        units: String,
    },
    /// The unit is not one of this kind of quantity.
    #[error("`{unit}` is not a unit of {kind}; units: {units}")]
    WrongUnit {
        /// The unit given.
        unit: String,
        /// Which kind of quantity belongs here.
        kind: &'static str,
        /// Every unit allowed.
        units: String,
    },
    /// The value is finer than the type can hold.
    #[error("`{text}` is finer than {resolution}")]
    TooFine {
        /// What was given.
        text: String,
        /// The smallest step.
        resolution: &'static str,
    },
    /// The value is outside what the type can hold.
    #[error("`{text}` is out of range: {allowed}")]
    OutOfRange {
        /// What was given.
        text: String,
        /// What may be given.
        allowed: &'static str,
    },
}

/// How a kind of quantity is written: its units as multiples `num / den` of the integer inside.
struct Kind {
    name: &'static str,
    example: &'static str,
    resolution: &'static str,
    /// Smallest first; the first of the equal multiples is the one printed.
    units: &'static [(&'static str, u128, u128)],
    common: &'static str,
}

const DURATION: Kind = Kind {
    name: "time",
    example: "5 ms",
    resolution: "a picosecond",
    units: &[
        ("ps", 1, 1),
        ("ns", 1_000, 1),
        ("us", 1_000_000, 1),
        ("ms", 1_000_000_000, 1),
        ("s", 1_000_000_000_000, 1),
        ("min", 60_000_000_000_000, 1),
        ("h", 3_600_000_000_000_000, 1),
    ],
    common: "ms",
};

const BYTES: Kind = Kind {
    name: "size",
    example: "602112 B",
    resolution: "a byte",
    units: &[
        ("B", 1, 1),
        ("kB", 1_000, 1),
        ("KB", 1_000, 1),
        ("KiB", 1 << 10, 1),
        ("MB", 1_000_000, 1),
        ("MiB", 1 << 20, 1),
        ("GB", 1_000_000_000, 1),
        ("GiB", 1 << 30, 1),
    ],
    common: "B",
};

const BYTE_RATE: Kind = Kind {
    name: "data rate",
    example: "25 Gbit/s",
    resolution: "a byte per second",
    units: &[
        ("bit/s", 1, 8),
        ("B/s", 1, 1),
        ("kbit/s", 125, 1),
        ("kB/s", 1_000, 1),
        ("Mbit/s", 125_000, 1),
        ("MB/s", 1_000_000, 1),
        ("Gbit/s", 125_000_000, 1),
        ("GB/s", 1_000_000_000, 1),
    ],
    common: "Gbit/s",
};

const FREQUENCY: Kind = Kind {
    name: "rate",
    example: "50 /s",
    resolution: "a millionth per second",
    units: &[
        ("/h", 1_000_000, 3_600),
        ("/min", 1_000_000, 60),
        ("/s", 1_000_000, 1),
        ("req/s", 1_000_000, 1),
        ("Hz", 1_000_000, 1),
        ("k/s", 1_000_000_000, 1),
    ],
    common: "/s",
};

impl Kind {
    fn unit_names(&self) -> String {
        self.units
            .iter()
            .map(|u| u.0)
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn parse(&self, text: &str) -> Result<u64, QuantityError> {
        let text = text.trim();
        let n_number = text
            .bytes()
            .take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
            .count();
        let (number, unit) = (&text[..n_number], text[n_number..].trim_start());
        let not_a_number = || QuantityError::NotANumber {
            text: text.to_owned(),
            example: self.example,
        };
        let (digits, n_decimals) = decimal(number).ok_or_else(not_a_number)?;
        if unit.is_empty() {
            return Err(QuantityError::NoUnit {
                text: text.to_owned(),
                unit: self.common,
                units: self.unit_names(),
            });
        }
        let Some(&(_, num, den)) = self.units.iter().find(|u| u.0 == unit) else {
            return Err(QuantityError::WrongUnit {
                unit: unit.to_owned(),
                kind: self.name,
                units: self.unit_names(),
            });
        };
        let too_large = || QuantityError::OutOfRange {
            text: text.to_owned(),
            allowed: "it must fit 64 bits of its smallest unit",
        };
        let scaled = digits.checked_mul(num).ok_or_else(too_large)?;
        let divisor = 10u128
            .checked_pow(n_decimals)
            .and_then(|d| d.checked_mul(den))
            .ok_or_else(too_large)?;
        if !scaled.is_multiple_of(divisor) {
            return Err(QuantityError::TooFine {
                text: text.to_owned(),
                resolution: self.resolution,
            });
        }
        u64::try_from(scaled / divisor).map_err(|_| too_large())
    }

    /// Writes `value` in the largest unit in which it is at least one and needs no more than
    /// `max_decimals`; always exactly, so that parsing what was printed gives the value back.
    fn print(&self, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from(value);
        let printable = [
            "ps", "ns", "us", "ms", "s", "B", "kB", "MB", "GB", "B/s", "kbit/s", "Mbit/s",
            "Gbit/s", "/s",
        ];
        let unit = self
            .units
            .iter()
            .filter(|u| printable.contains(&u.0))
            .filter(|u| exact_decimal(value * u.2, u.1).is_some())
            .rfind(|u| value * u.2 >= u.1)
            .or_else(|| self.units.iter().find(|u| printable.contains(&u.0)))
            .expect("every kind has a unit that prints");
        let number =
            exact_decimal(value * unit.2, unit.1).expect("the smallest unit prints exactly");
        write!(f, "{number} {}", unit.0)
    }
}

/// Reads `12`, `1_000` or `2.65` as its digits and the number of them behind the point.
fn decimal(number: &str) -> Option<(u128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let starts_with_digit = whole.bytes().next().is_some_and(|b| b.is_ascii_digit());
    if !starts_with_digit || fraction.contains('.') || (number.contains('.') && fraction.is_empty())
    {
        return None;
    }
    let digits: String = [whole, fraction].concat().replace('_', "");
    let n_decimals = fraction.bytes().filter(u8::is_ascii_digit).count();
    Some((digits.parse().ok()?, u32::try_from(n_decimals).ok()?))
}

/// `num / den` as a decimal number, if it has a finite one of at most 12 places.
fn exact_decimal(num: u128, den: u128) -> Option<String> {
    let (whole, mut rest) = (num / den, num % den);
    let mut fraction = String::new();
    while rest != 0 {
        if fraction.len() == 12 {
            return None;
        }
        rest *= 10;
        fraction.push(char::from(
            b'0' + u8::try_from(rest / den).expect("a digit is below ten"),
        ));
        rest %= den;
    }
    Some(if fraction.is_empty() {
        whole.to_string()
    } else {
        format!("{whole}.{fraction}")
    })
}

macro_rules! quantity {
    ($type:ident, $kind:ident, $make:expr, $raw:expr) => {
        impl FromStr for $type {
            type Err = QuantityError;
            fn from_str(text: &str) -> Result<$type, QuantityError> {
                let make: fn(u64, &str) -> Result<$type, QuantityError> = $make;
                make($kind.parse(text)?, text)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let raw: fn(&$type) -> u64 = $raw;
                $kind.print(raw(self), f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(
                            f,
                            "a {} with a unit, such as \"{}\"",
                            $kind.name, $kind.example
                        )
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

/// A rate of zero would never let anything through, which no file means.
fn positive<T>(value: Option<T>, text: &str) -> Result<T, QuantityError> {
    value.ok_or_else(|| QuantityError::OutOfRange {
        text: text.to_owned(),
        allowed: "it must be more than zero",
    })
}

quantity!(SimDuration, DURATION, |ps, _| Ok(SimDuration(ps)), |d| d.0);
quantity!(Bytes, BYTES, |n, _| Ok(Bytes(n)), |b| b.0);
quantity!(
    ByteRate,
    BYTE_RATE,
    |n, text| positive(ByteRate::from_bytes_per_s(n), text),
    |r| r.0
);
quantity!(
    Frequency,
    FREQUENCY,
    |n, text| positive((n > 0).then_some(Frequency(n)), text),
    |r| r.0
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_byte_at_400_gbit_is_20_ps() {
        let rate: ByteRate = "400 Gbit/s".parse().unwrap();
        assert_eq!(rate.serialization_delay(Bytes(1)), SimDuration::from_ps(20));
        assert_eq!(
            rate.serialization_delay(Bytes(4096)),
            SimDuration::from_ps(81_920)
        );
    }

    #[test]
    fn quantities_parse_exactly() {
        let ps = |s: &str| s.parse::<SimDuration>().map(SimDuration::as_ps);
        assert_eq!(ps("2.65 us"), Ok(2_650_000));
        assert_eq!(ps("1_000 s"), Ok(1_000 * PS_PER_S));
        assert_eq!(ps("0 ms"), Ok(0));
        assert_eq!("1 KiB".parse(), Ok(Bytes(1024)));
        assert_eq!("1 kB".parse(), Ok(Bytes(1000)));
        assert_eq!("90 /min".parse::<Frequency>(), "1.5 /s".parse());
    }

    #[test]
    fn errors_say_what_is_allowed() {
        let error = |s: &str| s.parse::<SimDuration>().unwrap_err().to_string();
        insta::assert_snapshot!(error("5"), @r#"`5` lacks a unit, write for example "5 ms"; units: ps, ns, us, ms, s, min, h"#);
        insta::assert_snapshot!(error("5 Gbit/s"), @"`Gbit/s` is not a unit of time; units: ps, ns, us, ms, s, min, h");
        insta::assert_snapshot!(error("fast"), @r#"`fast` is not a number followed by a unit, such as "5 ms""#);
        insta::assert_snapshot!(error("0.5 ps"), @"`0.5 ps` is finer than a picosecond");
        insta::assert_snapshot!(error("300 h 1"), @"`h 1` is not a unit of time; units: ps, ns, us, ms, s, min, h");
        insta::assert_snapshot!("0 Gbit/s".parse::<ByteRate>().unwrap_err(), @"`0 Gbit/s` is out of range: it must be more than zero");
    }

    proptest! {
        #[test]
        fn printing_then_parsing_gives_the_value_back(n in 1u64..) {
            prop_assert_eq!(SimDuration(n).to_string().parse(), Ok(SimDuration(n)));
            prop_assert_eq!(Bytes(n).to_string().parse(), Ok(Bytes(n)));
            prop_assert_eq!(ByteRate(n).to_string().parse(), Ok(ByteRate(n)));
            prop_assert_eq!(Frequency(n).to_string().parse(), Ok(Frequency(n)));
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in ".{0,40}") {
            let _ = text.parse::<SimDuration>();
            let _ = text.parse::<Frequency>();
        }
    }
}
