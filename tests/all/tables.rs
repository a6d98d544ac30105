//! The small tables of `docs/study`, which `tandem reproduce --tables docs/study` writes: that the engine
//! still finds what is in them, and that the documents say what they do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schema::profile::Profile;
use schema::scenario::Scenario;
use schema::study::{Intervals, Outcome, PointResult, Replication, STUDY_FORMAT, Study};
use sim::{Arrivals, Keep, Options};

/// Points that take little to simulate at full length, a study a line: its file, and their levels. What is
/// saved is in the row of a point only if the point that it is saved from is there too.
const CHEAP: [(&str, &[&[&str]]); 18] = [
    (
        "study/1-offloading",
        &[
            &["ResNet-50", "TCP"],
            &["ResNet-50", "modern GDR"],
            &["DeepLabV3", "TCP"],
            &["DeepLabV3", "RDMA"],
        ],
    ),
    (
        "study/2-input",
        &[
            &["ResNet-50, raw", "16", "TCP"],
            &["ResNet-50, raw", "16", "GDR"],
        ],
    ),
    (
        "study/3-nets",
        &[
            &["MobileNetV3", "0.5 x A2", "16", "TCP"],
            &["MobileNetV3", "0.5 x A2", "16", "GDR"],
        ],
    ),
    (
        "study/4-proxied",
        &[
            &["ResNet-50", "16", "TCP/TCP"],
            &["ResNet-50", "16", "TCP/GDR"],
        ],
    ),
    (
        "study/5-batching",
        &[
            &["MobileNetV3", "batches, 1 ms", "16", "TCP"],
            &["MobileNetV3", "batches, 1 ms", "16", "GDR"],
        ],
    ),
    (
        "study/5-clients",
        &[
            &["ResNet-50", "16", "TCP"],
            &["ResNet-50", "16", "GDR, switch"],
            &["DeepLabV3", "1", "TCP"],
            &["DeepLabV3", "1", "GDR"],
        ],
    ),
    (
        "study/6-copies",
        &[
            &["ResNet-50", "16", "RDMA, pageable, default stream"],
            &["ResNet-50", "16", "RDMA, pinned, own stream"],
        ],
    ),
    ("study/7-streams", &[&["ResNet-50", "8", "TCP"]]),
    ("study/8-priority", &[&["ResNet-50", "RDMA, first"]]),
    (
        "study/9-sharing",
        &[
            &["ResNet-50", "16", "RDMA, streams"],
            &["ResNet-50", "16", "RDMA, processes"],
        ],
    ),
    (
        "beyond/10-hardware",
        &[
            &["ResNet-50", "16", "100 Gbit/s", "A100", "TCP"],
            &["ResNet-50", "16", "100 Gbit/s", "A100", "GDR"],
        ],
    ),
    (
        "beyond/11-one-gateway",
        &[&["1", "RDMA/GDR, 4 cores, 400 Gbit/s"]],
    ),
    ("beyond/12-racks", &[&["16", "TCP"], &["16", "GDR"]]),
    ("beyond/13-fan-out", &[&["1", "TCP"], &["1", "GDR"]]),
    (
        "beyond/15-access",
        &[
            &["tensor of 602 kB", "wire", "TCP"],
            &["tensor of 602 kB", "wire", "GDR"],
        ],
    ),
    ("beyond/16-mixed", &[&["batches of 8", "MPS, 30 and 70%"]]),
    ("beyond/17-balancing", &[&["1", "least-outstanding"]]),
    ("beyond/18-failure", &[&["4", "elsewhere, 20 ms"]]),
];
/// Tables of studies that have no such point.
const NONE_CHEAP: [&str; 1] = ["beyond/14-bursts"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn study(file: &str) -> Study {
    let path = root().join("scenarios").join(file).with_extension("toml");
    Study::load(&path).unwrap()
}

fn table(name: &str) -> String {
    let path = root().join("docs/study").join(format!("{name}.csv"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the engine finds at a point, as `tandem reproduce` does.
fn found(study: &Study, profile: &Profile, index: usize) -> Outcome {
    let point = &study.points()[index];
    let scenario = Scenario::load(&study.scenario, &point.overrides).unwrap();
    let run = |scenario: &Scenario, profile: &Profile, replications: u32| {
        let options = Options {
            replications,
            arrivals: Arrivals::Independent,
            threads: 1,
            precision: None,
            keep: Keep::Statistics,
        };
        let runs = sim::runs(scenario, Some(profile), &options).unwrap();
        runs.iter().map(Replication::of_run).collect::<Vec<_>>()
    };
    let replications = match study.intervals {
        Intervals::Profile => (0..study.replications)
            .flat_map(|index| {
                let seed = scenario.seed.replication(index);
                run(&scenario.clone().with_seed(seed), &profile.drawn(seed), 1)
            })
            .collect(),
        Intervals::Replications | Intervals::Prediction { .. } => {
            run(&scenario, profile, study.replications)
        }
    };
    Outcome::Found(PointResult {
        format: STUDY_FORMAT,
        levels: BTreeMap::new(),
        replications,
        drawn: Vec::new(),
    })
}

#[test]
fn the_engine_finds_what_the_tables_say() {
    for (file, points) in CHEAP {
        let study = study(file);
        let profile = Profile::load_all(&study.profiles).unwrap().unwrap();
        let all = study.points();
        let mut outcomes = vec![Outcome::Missing; all.len()];
        for levels in points {
            let index = all.iter().position(|point| point.labels == *levels);
            let index = index.unwrap_or_else(|| panic!("{file} has no point {levels:?}"));
            outcomes[index] = found(&study, &profile, index);
        }
        let (now, then) = (study.digest(&outcomes), table(&study.name));
        for row in now.lines() {
            assert!(
                then.lines().any(|line| line == row),
                "{file}: the engine finds otherwise\n{row}\nrun `tandem reproduce --only {} --tables docs/study`, and see what the documents say of it",
                study.name
            );
        }
    }
}

#[test]
fn every_study_has_its_table() {
    let with_table = CHEAP.iter().map(|(file, _)| *file).chain(NONE_CHEAP);
    let mut known: Vec<&str> = with_table.clone().collect();
    known.sort_unstable();
    let mut studies = Vec::new();
    for folder in ["study", "beyond"] {
        for entry in fs::read_dir(root().join("scenarios").join(folder)).unwrap() {
            let name = entry.unwrap().path();
            let name = name.file_stem().unwrap().to_string_lossy().into_owned();
            studies.push(format!("{folder}/{name}"));
        }
    }
    studies.sort_unstable();
    assert_eq!(known, studies);
    for file in with_table {
        let study = study(file);
        let rows = records(&table(&study.name));
        let labels: Vec<Vec<String>> = rows[1..]
            .iter()
            .map(|row| row[..study.factors.len()].to_vec())
            .collect();
        let points: Vec<Vec<String>> = study.points().into_iter().map(|p| p.labels).collect();
        assert_eq!(labels, points, "{file}");
    }
}

/// The fields of a CSV file, by row.
fn records(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().map(|line| {
        let mut fields = vec![String::new()];
        let mut is_quoted = false;
        for c in line.chars() {
            match c {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    });
    rows.collect()
}

/// The table of a study, by the levels of its points and then by column.
type Rows = BTreeMap<Vec<String>, BTreeMap<String, f64>>;

fn rows(name: &str, n_factors: usize) -> Rows {
    let records = records(&table(name));
    let (heads, rows) = records.split_first().unwrap();
    let rows = rows.iter().map(|row| {
        let (levels, numbers) = row.split_at(n_factors);
        let numbers = heads[n_factors..].iter().zip(numbers);
        let numbers = numbers.filter(|(_, text)| !text.is_empty());
        let numbers = numbers.map(|(head, text)| (head.clone(), text.parse().unwrap()));
        (levels.to_vec(), numbers.collect())
    });
    rows.collect()
}

/// A number as it is shown, and its decimals.
type Shown = (f64, i32);

/// Words before an interval among which its value is.
const N_WORDS: usize = 9;

/// The numbers in a text, each with its number of decimals; of large ones zeros at the end are taken to be
/// rounded, as decimals below zero.
fn numbers(text: &str) -> Vec<Shown> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let words = text
        .split(|c: char| !is_part(c))
        .map(|word| word.trim_end_matches('.'));
    let words = words.filter(|word| word.contains(|c: char| c.is_ascii_digit()));
    let words = words.filter_map(|word| {
        let value: f64 = word.parse().ok()?;
        let decimals = match word.split_once('.') {
            Some((_, after)) => after.len() as i32,
            None if value.abs() >= 1000.0 => {
                word.trim_end_matches('0').len() as i32 - word.len() as i32
            }
            None => 0,
        };
        Some((value, decimals))
    });
    words.collect()
}

/// How far a number with so many decimals may be from that of a table, which is rounded to four digits
/// itself.
fn allowed(decimals: i32, is: f64) -> f64 {
    0.5 * 10f64.powi(-decimals) + 6e-4 * is.abs()
}

/// That the numbers in `text` are those of the columns, rounded.
fn assert_says(place: &str, text: &str, row: &BTreeMap<String, f64>, columns: &[&str]) {
    let shown = numbers(text);
    assert!(
        !shown.is_empty() && shown.len() <= columns.len(),
        "{place}: {text}"
    );
    for ((shown, decimals), column) in shown.iter().zip(columns) {
        let is = row[*column];
        assert!(
            (shown - is).abs() <= allowed(*decimals, is),
            "{place}: `{text}` says {shown}, the table {is} ({column})"
        );
    }
}

/// The columns of what is saved from TCP, in a unit.
fn saved(unit: &str) -> [String; 3] {
    ["", "_low", "_high"].map(|end| format!("saved_from_TCP_{unit}{end}"))
}

/// The cells of the table of a document that begins with `heads`, below its first two lines.
fn cells(text: &str, heads: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(heads));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let rows = rows.map(|line| {
        let line = line.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    });
    rows.collect()
}

#[test]
fn the_headline_s_table_of_batches_is_that_of_the_study() {
    let rows = rows("5-batching", 4);
    let text = fs::read_to_string(root().join("docs/headline.md")).unwrap();
    let table = cells(&text, "| net | served |");
    assert_eq!(table.len(), 6);
    let mut net = String::new();
    for row in table {
        let [name, served, savings @ ..] = &row[..] else {
            panic!("{row:?}");
        };
        if !name.is_empty() {
            name.clone_into(&mut net);
        }
        assert_eq!(savings.len(), 5, "{row:?}");
        for (cell, clients) in savings.iter().zip(["1", "4", "8", "16", "32"]) {
            let levels = [&net, served, clients, "GDR"].map(str::to_owned).to_vec();
            let columns = saved("percent");
            let place = levels.join(", ");
            assert_says(
                &place,
                cell,
                &rows[&levels],
                &columns.each_ref().map(String::as_str),
            );
        }
    }
}

#[test]
fn the_headline_s_table_is_that_of_the_study() {
    let rows = rows("5-clients", 3);
    let text = fs::read_to_string(root().join("docs/headline.md")).unwrap();
    let table = cells(&text, "| net | clients |");
    assert_eq!(table.len(), 14);
    let mut net = String::new();
    for row in table {
        let [name, clients, tcp, switch, root] = &row[..] else {
            panic!("{row:?}");
        };
        if !name.is_empty() {
            name.clone_into(&mut net);
        }
        let place = format!("{net}, {clients}");
        let found =
            |transport: &str| &rows[&[&net, clients, transport].map(str::to_owned).to_vec()];
        assert_says(&place, tcp, found("TCP"), &["mean_ms"]);
        for (cell, transport) in [(switch, "GDR, switch"), (root, "GDR")] {
            // What is saved in percent, and then in ms if that is there.
            let (percent, ms) = cell.split_once("), ").unwrap_or((cell, ""));
            for (text, unit) in [(percent, "percent"), (ms, "ms")] {
                if !text.is_empty() {
                    let columns = saved(unit);
                    let columns = columns.each_ref().map(String::as_str);
                    assert_says(&place, text, found(transport), &columns);
                }
            }
        }
    }
}

/// How many of the statements of a section of `docs/beyond.md` with a value and its interval, such as
/// `18% (13 to 23)`, are in the table of the section's study. The others are what `tandem explain` says, or are
/// of groups and metrics that are not in the table.
const SAID: [(&str, usize); 9] = [
    ("10-hardware", 7),
    ("11-one-gateway", 4),
    ("12-racks", 4),
    ("13-fan-out", 2),
    ("14-bursts", 4),
    ("15-access", 4),
    ("16-mixed", 5),
    ("17-balancing", 4),
    ("18-failure", 3),
];

#[test]
fn sections_say_what_is_in_the_tables_of_their_studies() {
    let text = fs::read_to_string(root().join("docs/beyond.md")).unwrap();
    let mut said = Vec::new();
    for (name, _) in SAID {
        let table = rows(name, study(&format!("beyond/{name}")).factors.len());
        let section = text
            .split("\n## ")
            .find(|section| section.lines().next().unwrap().contains(name));
        let statements = statements(section.unwrap());
        let known = statements
            .iter()
            .filter(|statement| is_in(&table, statement));
        said.push((name, known.count()));
    }
    assert_eq!(
        said, SAID,
        "a number of docs/beyond.md is no longer that of its study, or another one is now"
    );
}

/// Values with intervals, as `5.8% (4.2 to 7.6)` or `18.1 ms for the trace (17.6 to 18.6)`: the ends, and
/// before them whatever may be the value.
fn statements(text: &str) -> Vec<(Vec<Shown>, [Shown; 2])> {
    let text = text.replace(',', "");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut all = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if *word != "to" || index == 0 || index + 1 == words.len() {
            continue;
        }
        let one = |word: &str| match numbers(word)[..] {
            [number] => Some(number),
            _ => None,
        };
        let values = words[..index - 1].iter().rev().take(N_WORDS);
        let values: Vec<Shown> = values.filter_map(|word| one(word)).collect();
        if let (Some(low), Some(high)) = (one(words[index - 1]), one(words[index + 1])) {
            all.push((values, [low, high]));
        }
    }
    all
}

/// Whether a row of the table has one of these values between these ends, in some unit.
fn is_in(table: &Rows, (values, ends): &(Vec<Shown>, [Shown; 2])) -> bool {
    let agrees = |shown: Shown, is: f64| {
        let (shown, decimals) = shown;
        (shown - is).abs() <= allowed(decimals, is)
    };
    table.values().any(|row| {
        row.iter().any(|(column, is)| {
            let stem = column.trim_end_matches("_ms").trim_end_matches("_per_s");
            let end = |end: &str| {
                let own = row.get(&format!("{column}{end}"));
                own.or(row.get(&format!("{stem}{end}"))).copied()
            };
            let (Some(low), Some(high)) = (end("_low"), end("_high")) else {
                return false;
            };
            [1.0, 1e3].iter().any(|unit| {
                values.iter().any(|value| agrees(*value, unit * is))
                    && agrees(ends[0], unit * low)
                    && agrees(ends[1], unit * high)
            })
        })
    })
}
