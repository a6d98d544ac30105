//! Checks of the repository itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use schema::profile::Profile;
use schema::scenario::Scenario;
use schema::study::Study;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Files below `dir` with the extension `extension`, build output and hidden folders left out.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "tandem-out" {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn crates_know_only_the_schema() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut ours: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let dependencies = dependencies.filter(|d| d["path"].is_string());
        let names = dependencies
            .map(|d| d["name"].as_str().unwrap().to_owned())
            .collect();
        ours.insert(package["name"].as_str().unwrap().to_owned(), names);
    }
    assert_eq!(ours.remove("tandem-schema"), Some(BTreeSet::new()));
    assert_eq!(ours.remove("tandem").map(|all| all.len()), Some(5));
    // For tests alone: it is the engine's GPU behind the functions of a driver.
    let known = ["tandem-schema", "tandem-sim"].map(str::to_owned);
    assert_eq!(ours.remove("tandem-standin"), Some(known.into()));
    assert_eq!(ours.len(), 4);
    for (name, dependencies) in ours {
        let schema = BTreeSet::from(["tandem-schema".to_owned()]);
        assert_eq!(dependencies, schema, "{name} may know the schema only");
    }
}

#[test]
fn every_scenario_study_and_profile_parses_and_is_described() {
    let folder = Path::new(ROOT).join("scenarios");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let scenarios = files(&folder, "toml");
    assert!(!scenarios.is_empty());
    for path in scenarios {
        if path.starts_with(folder.join("profiles")) {
            Profile::load(&path).unwrap();
        } else if ["study", "beyond", "validation"]
            .iter()
            .any(|of| path.starts_with(folder.join(of)))
        {
            let study = Study::load(&path).unwrap();
            let profile = Profile::load_all(&study.profiles).unwrap().unwrap();
            for (index, point) in study.points().into_iter().enumerate() {
                let scenario = Scenario::load(&study.scenario, &point.overrides).unwrap();
                assert_eq!(study.unknown_group(index, &scenario), None);
                let can = sim::check(&scenario, &profile);
                can.unwrap_or_else(|error| panic!("{}, {:?}: {error}", study.name, point.labels));
            }
        } else if path.starts_with(folder.join("judge")) {
            // Their profile is fitted where they are measured.
            let study = Study::load(&path).unwrap();
            for point in study.points() {
                Scenario::load(&study.scenario, &point.overrides).unwrap();
            }
        } else {
            Scenario::load(&path, &[]).unwrap();
        }
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        assert!(
            readme.contains(&name),
            "scenarios/README.md does not name {name}"
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    for path in files(Path::new(ROOT), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no module doc",
            path.display()
        );
        let allow = ["#[", "allow("].concat();
        assert!(
            !text.contains(&allow),
            "{} allows a lint; expect it, with a reason",
            path.display()
        );
    }
}
