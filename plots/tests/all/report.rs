//! What is in a report.

use plots::report::{
    Report, Section, Table, accuracy_table, end_to_end_table, facts, how_to_read, stage_table,
    warnings_section,
};
use plots::{Pair, breakdown};
use schema::comparison::Metric;
use schema::run::Outcome;

use crate::fixtures::{manifest, row, summary};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn small() -> Report {
    Report {
        title: "A report".to_owned(),
        command: "tandem report runs".to_owned(),
        facts: vec![("cores".to_owned(), "2".to_owned())],
        verdict: texts(&["All is well."]),
        sections: vec![
            Section {
                heading: "Fits".to_owned(),
                text: texts(&["What was fitted."]),
                figures: Vec::new(),
                tables: vec![Table {
                    caption: "Laws.".to_owned(),
                    heads: texts(&["cost", "base (µs)"]),
                    rows: vec![texts(&["send", "2.5"]), texts(&["receive", "–"])],
                }],
            },
            Section {
                heading: "Nothing".to_owned(),
                ..Section::default()
            },
        ],
    }
}

#[test]
fn a_small_report_reads_like_this() {
    let html = small().html();
    let (head, rest) = html.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    insta::assert_snapshot!(format!("{head}{body}"), @r##"
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>A report</title>

    </head>
    <body>
    <header>
    <h1>A report</h1>
    <p>Made by <code>tandem report runs</code></p>
    </header>
    <main>
    <section class="verdict">
    <h2>Verdict</h2>
    <p>All is well.</p>
    </section>
    <nav><ol>
    <li><a href="#s1">Fits</a></li>
    <li><a href="#s2">Nothing</a></li>
    </ol></nav>
    <section id="s1">
    <h2>Fits</h2>
    <p>What was fitted.</p>
    <div class="wide"><table>
    <caption>Laws.</caption>
    <thead><tr><th>cost</th><th class="n">base (µs)</th></tr></thead>
    <tbody>
    <tr><td>send</td><td class="n">2.5</td></tr>
    <tr><td>receive</td><td class="n">–</td></tr>
    </tbody>
    </table></div>
    </section>
    <section id="s2">
    <h2>Nothing</h2>
    </section>
    <section>
    <h2>What it was made on</h2>
    <dl>
    <dt>cores</dt><dd>2</dd>
    </dl>
    </section>
    </main>
    </body>
    </html>
    "##);
}

#[test]
fn every_text_is_escaped() {
    let evil = "<i>\"&'";
    let table = Table {
        caption: evil.to_owned(),
        heads: texts(&[evil]),
        rows: vec![texts(&[evil])],
    };
    let parts = summary(&[("send", 0.1)]);
    let pair = Pair {
        label: evil.to_owned(),
        measured: Some(&parts),
        simulated: None,
    };
    let mut figure = breakdown::draw(evil, &[pair]).unwrap();
    figure.caption = evil.to_owned();
    let section = Section {
        heading: evil.to_owned(),
        text: texts(&[evil]),
        figures: vec![figure],
        tables: vec![table],
    };
    let report = Report {
        title: evil.to_owned(),
        command: evil.to_owned(),
        facts: vec![(evil.to_owned(), evil.to_owned())],
        verdict: texts(&[evil]),
        sections: vec![section.clone(), section],
    };
    let html = report.html();
    assert!(!html.contains("<i>"));
    // Title twice, command, verdict, and two facts; of each section its heading twice, text,
    // figure's title, label and caption, table's caption, head and cell.
    assert_eq!(html.matches("&lt;i&gt;&quot;&amp;").count(), 6 + 2 * 9);
}

#[test]
fn a_report_needs_nothing_else() {
    let parts = summary(&[("send", 0.1)]);
    let pair = Pair {
        label: "a".to_owned(),
        measured: Some(&parts),
        simulated: Some(&parts),
    };
    let mut report = small();
    let figure = breakdown::draw("breakdown", &[pair]).unwrap();
    report.sections[0].figures.push(figure);
    let html = report.html();
    // The only address is the name of SVG's namespace.
    assert_eq!(html.matches("http").count(), 1);
    for needs in ["<script", "<link", "src=", "url(", "@import"] {
        assert!(!html.contains(needs), "{needs}");
    }
    assert!(html.contains("xmlns=\"http://www.w3.org/2000/svg\""));
}

#[test]
fn tables_are_made_from_comparisons() {
    let mut rows = vec![row(Metric::Mean, Some(0.05)), row(Metric::Throughput, None)];
    rows[0].held_out = true;
    rows[1].measured = 120.0;
    rows[1].predicted = 118.0;
    rows[1].measured_interval = None;
    rows[1].noise = None;
    rows[1].saturated = true;
    let mut send = row(Metric::Mean, Some(0.05));
    send.stage = "send".to_owned();
    send.measured = 0.002;
    send.predicted = 0.0021;
    rows.push(send);
    let whole = accuracy_table(&rows);
    assert_eq!(
        whole.rows,
        [
            [
                "a",
                "runs/a",
                "mean",
                "20.0 ms",
                "19.0 ms to 21.0 ms",
                "21.0 ms",
                "+5.0%",
                "+1.0%",
                "held out"
            ],
            [
                "a",
                "runs/a",
                "throughput",
                "120/s",
                "–",
                "118/s",
                "–",
                "–",
                "saturated"
            ],
        ]
    );
    let parts = stage_table(&rows);
    assert_eq!(
        parts.rows,
        [[
            "a", "runs/a", "send", "2.00 ms", "2.10 ms", "+5.0%", "+1.0%", "+0.5%"
        ]]
    );
    for table in [whole, parts] {
        assert!(table.rows.iter().all(|row| row.len() == table.heads.len()));
    }
}

#[test]
fn warnings_and_ends_of_runs_are_told() {
    let mut manifest = manifest();
    manifest.outcome = Outcome::Broken {
        role: "server classify".to_owned(),
        how: "killed by signal 9".to_owned(),
    };
    manifest.warnings.push("the clock is coarse".to_owned());
    let mut run = summary(&[("send", 0.1)]);
    run.failed = 2;
    run.diagnostics.warnings.push("drifts".to_owned());
    let section = warnings_section(&[("runs/a".to_owned(), &manifest, &run)]);
    let told: Vec<&str> = section.tables[0]
        .rows
        .iter()
        .map(|row| row[1].as_str())
        .collect();
    assert_eq!(
        told,
        [
            "broken: server classify was killed by signal 9; it holds what was recorded until then",
            "2 requests failed",
            "the clock is coarse",
            "drifts",
        ]
    );
    assert_eq!(
        section.tables[1].rows,
        [["runs/a", "100", "80.0", "0", "+0.0%"]]
    );
    let quiet = warnings_section(&[]);
    assert_eq!(quiet.text, ["There were no warnings."]);
    assert!(quiet.tables.is_empty());
}

#[test]
fn facts_are_those_of_the_manifest() {
    let facts = facts(&manifest());
    let facts: Vec<String> = facts.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    assert_eq!(
        facts,
        [
            "program: tandem 0.1.0",
            "measured by: tandem measure",
            "processor: a CPU",
            "stolen by the hypervisor: 250 ms over the run",
            "SHA-256 of scenario: ab12",
        ]
    );
}

#[test]
fn runs_are_listed_with_their_intervals() {
    let run = summary(&[("send", 0.019)]);
    let table = end_to_end_table(&[("runs/a".to_owned(), &run)]);
    assert_eq!(
        table.rows,
        [[
            "runs/a",
            "100",
            "0",
            "20.0 ms ± 10.0%",
            "18.0 ms ± 10.0%",
            "30.0 ms ± 10.0%",
            "40.0 ms ± 10.0%",
            "50.0/s ± 10.0%",
        ]]
    );
    assert!(!how_to_read().text.is_empty());
}
