//! The report: one HTML page that needs nothing else.
//!
//! Figures are inline SVG, the style is inline, and there is no script and no address, so the page
//! reads the same from a disk, from a mail and on paper. Every text is escaped.

mod parts;

pub use parts::{
    accuracy_table, end_to_end_table, facts, how_to_read, stage_table, warnings_section,
};

use std::fs;
use std::path::Path;

use crate::error::PlotError;
use crate::figure::Figure;

const STYLE: &str = include_str!("style.css");

/// A report under construction.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its title.
    pub title: String,
    /// The command that makes it again.
    pub command: String,
    /// What is known of the machine, the program and the inputs, by name; see [`facts`].
    pub facts: Vec<(String, String)>,
    /// What was found, in a few sentences; each is a paragraph.
    pub verdict: Vec<String>,
    /// The rest, in order.
    pub sections: Vec<Section>,
}

/// A part of a report: text, then figures, then tables.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// Its paragraphs.
    pub text: Vec<String>,
    /// Its figures, each above its caption.
    pub figures: Vec<Figure>,
    /// Its tables.
    pub tables: Vec<Table>,
}

/// A table of text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// What it shows; empty for none.
    pub caption: String,
    /// The head of each column, with its unit. Columns whose cells all begin like numbers are
    /// aligned right.
    pub heads: Vec<String>,
    /// The rows, a cell a column.
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n<p>Made by <code>{}</code></p>\n</header>\n<main>\n",
            escape(&self.command)
        );
        if !self.verdict.is_empty() {
            html += "<section class=\"verdict\">\n<h2>Verdict</h2>\n";
            push_paragraphs(&mut html, &self.verdict);
            html += "</section>\n";
        }
        if self.sections.len() > 1 {
            html += "<nav><ol>\n";
            for (index, section) in self.sections.iter().enumerate() {
                let heading = escape(&section.heading);
                html += &format!("<li><a href=\"#s{}\">{heading}</a></li>\n", index + 1);
            }
            html += "</ol></nav>\n";
        }
        for (index, section) in self.sections.iter().enumerate() {
            push_section(&mut html, index + 1, section);
        }
        if !self.facts.is_empty() {
            html += "<section>\n<h2>What it was made on</h2>\n<dl>\n";
            for (name, value) in &self.facts {
                html += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
            }
            html += "</dl>\n</section>\n";
        }
        html += "</main>\n</body>\n</html>\n";
        html
    }

    /// Writes the page to `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PlotError> {
        fs::write(path, self.html()).map_err(|source| PlotError::Write {
            path: path.to_owned(),
            source,
        })
    }
}

fn push_section(html: &mut String, number: usize, section: &Section) {
    let heading = escape(&section.heading);
    *html += &format!("<section id=\"s{number}\">\n<h2>{heading}</h2>\n");
    push_paragraphs(html, &section.text);
    if !section.figures.is_empty() {
        *html += "<div class=\"figures\">\n";
        for figure in &section.figures {
            let caption = escape(&figure.caption);
            let svg = figure.svg();
            *html += &format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n");
        }
        *html += "</div>\n";
    }
    for table in &section.tables {
        push_table(html, table);
    }
    *html += "</section>\n";
}

fn push_paragraphs(html: &mut String, paragraphs: &[String]) {
    for paragraph in paragraphs {
        *html += &format!("<p>{}</p>\n", escape(paragraph));
    }
}

fn push_table(html: &mut String, table: &Table) {
    let numeric: Vec<bool> = (0..table.heads.len())
        .map(|c| is_numeric(table, c))
        .collect();
    let class = |column: usize| {
        if numeric.get(column).copied().unwrap_or(false) {
            " class=\"n\""
        } else {
            ""
        }
    };
    *html += "<div class=\"wide\"><table>\n";
    if !table.caption.is_empty() {
        *html += &format!("<caption>{}</caption>\n", escape(&table.caption));
    }
    *html += "<thead><tr>";
    for (column, head) in table.heads.iter().enumerate() {
        *html += &format!("<th{}>{}</th>", class(column), escape(head));
    }
    *html += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        *html += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            *html += &format!("<td{}>{}</td>", class(column), escape(cell));
        }
        *html += "</tr>\n";
    }
    *html += "</tbody>\n</table></div>\n";
}

/// Whether every cell of the column is empty, a dash or begins like a number, and one does.
fn is_numeric(table: &Table, column: usize) -> bool {
    let cells = || table.rows.iter().filter_map(|row| row.get(column));
    let number = |cell: &String| {
        let digits = cell.trim_start_matches(['+', '-', '−', '±', '<', '>', '~']);
        digits.starts_with(|c: char| c.is_ascii_digit())
    };
    cells().any(number) && cells().all(|cell| number(cell) || cell.is_empty() || cell == "–")
}

/// `text` as it stands in the content or an attribute of a page.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
