//! Tables as CSV (RFC 4180, lines end with a line feed).

use std::fmt::Display;

/// A table under construction. Times are in seconds and every number is written in full, so that
/// reading it back gives the same number.
#[derive(Clone, Debug)]
pub struct Csv(String);

impl Csv {
    /// A table with these heads, units in their names.
    pub fn new(heads: &[&str]) -> Csv {
        let heads: Vec<String> = heads.iter().map(|head| quote(head)).collect();
        Csv(heads.join(",") + "\n")
    }

    /// Appends a row.
    pub fn row(&mut self, fields: &[&dyn Display]) {
        let fields: Vec<String> = fields.iter().map(|f| quote(&f.to_string())).collect();
        self.0.push_str(&fields.join(","));
        self.0.push('\n');
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }
}

/// A number, or nothing.
pub fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The number, or nothing where an interval is unbounded.
pub fn bound(value: f64) -> String {
    number(value.is_finite().then_some(value))
}

fn quote(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        let mut csv = Csv::new(&["a", "b_s"]);
        csv.row(&[&"x, \"y\"", &0.1]);
        assert_eq!(csv.finish(), "a,b_s\n\"x, \"\"y\"\"\",0.1\n");
    }

    #[test]
    fn unbounded_ends_of_intervals_are_empty() {
        assert_eq!(bound(f64::INFINITY), "");
        assert_eq!(bound(2.5), "2.5");
    }
}
