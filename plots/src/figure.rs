//! A finished figure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::drawing::Drawing;
use crate::error::PlotError;

/// Width of a figure on paper, in millimetres: one column of 3.3 inches.
pub const WIDTH_MM: f64 = 3.3 * 25.4;

/// A finished figure, the text under it and the numbers in it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of its files, without an ending.
    pub name: String,
    /// What it shows and how to read it; drawn nowhere, for the text around it.
    pub caption: String,
    /// The numbers drawn, times in seconds; the first line names columns and units.
    pub csv: String,
    pub(crate) drawing: Drawing,
}

impl Figure {
    /// The figure as SVG. Text stays text: a viewer without DejaVu Sans Condensed takes another
    /// font.
    pub fn svg(&self) -> String {
        self.drawing.svg(&self.name)
    }

    /// Writes `name.svg`, `name.png` (300 dpi at [`WIDTH_MM`]) and `name.csv` into `dir`, which is
    /// made if it does not exist; returns their paths.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<[PathBuf; 3], PlotError> {
        let paths = ["svg", "png", "csv"].map(|ending| dir.join(format!("{}.{ending}", self.name)));
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| PlotError::Write { path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        fs::write(&paths[0], self.svg()).map_err(failed(&paths[0]))?;
        self.drawing
            .pixels()
            .save(&paths[1])
            .map_err(failed(&paths[1]))?;
        fs::write(&paths[2], &self.csv).map_err(failed(&paths[2]))?;
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use schema::comparison::{END_TO_END, Metric, Row};
    use schema::ids::{ClassId, ClientId, HostId, Id, RequestId, StageId};
    use schema::run::{Leg, Manifest, Outcome, Run, RunKind, Span, SpanName, Status};
    use schema::scenario::Scenario;

    use crate::pair::Pair;
    use crate::timeline::{Lanes, View};
    use crate::{accuracy, cdf, gantt};

    const LONG: &str = "a-name-that-is-much-too-long-for-one-column-of-a-paper-and-then-some-more";

    /// An inference of a second on a host and a stage with long names.
    fn run() -> Run {
        let text = format!(
            r#"format = 1
name = "long"
run = {{ measure = {{ requests = 1 }} }}
hosts.{LONG} = {{ part = "box", cores = 2 }}
stages.{LONG} = {{ on = "{LONG}", serve.synthetic = {{ time = "1 s", input = "1 B", output = "1 B" }} }}
[[clients]]
on = "{LONG}"
arrivals.closed-loop = {{}}
path = [{{ to = "{LONG}", over = "local" }}]
"#
        );
        let scenario = Scenario::parse(Path::new("long.toml"), text, &[]).expect("it is valid");
        let manifest = Manifest {
            format: 1,
            kind: RunKind::Simulated,
            program: "test".to_owned(),
            scenario: scenario.file().clone(),
            inputs: BTreeMap::new(),
            replications: 1,
            outcome: Outcome::Complete,
            cpu: Vec::new(),
            warnings: Vec::new(),
            measured: None,
        };
        let span = Span {
            branch: 0,
            replication: 0,
            request: RequestId::new(ClientId::from_index(0), 0),
            class: ClassId::from_index(0),
            stage: StageId::from_index(0),
            host: HostId::from_index(0),
            name: SpanName::Inference,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            context: 0,
            kernel: None,
            bytes: 0,
            ready_ns: 0,
            start_ns: 1_000,
            end_ns: 1_000_000_000,
            cpu_ns: 0,
            status: Status::Ok,
        };
        Run::new(manifest, vec![span]).expect("it is valid")
    }

    #[test]
    fn no_text_is_clipped_however_long_or_far_out() {
        let row = |metric, error: f64| Row {
            run: LONG.to_owned(),
            scenario: LONG.to_owned(),
            held_out: true,
            stage: END_TO_END.to_owned(),
            metric,
            measured: 1.0,
            measured_interval: Some([0.5, 1e9]),
            predicted: 1.0 + error,
            error: Some(error),
            noise: Some(7.0),
            saturated: true,
        };
        let rows = [
            row(Metric::Mean, 1234.5),
            row(Metric::P50, -0.99),
            row(Metric::P90, 0.02),
            row(Metric::Throughput, 0.01),
        ];
        let sample = |scale: f64| vec![scale, 2.0 * scale, 9.9 * scale];
        let pairs = [1e-7, 12_345.0].map(|scale| Pair {
            label: LONG.to_owned(),
            measured: Some(sample(scale)),
            simulated: Some(sample(1.2 * scale)),
        });
        let whole = View {
            replication: 0,
            from_ns: None,
            to_ns: Some(2_000_000),
        };
        let late = View {
            from_ns: Some(1_999_999),
            ..whole
        };
        let figures = [
            accuracy::draw("accuracy", &rows),
            cdf::draw("one", &pairs[1..]),
            cdf::draw("both", &pairs),
            gantt::draw("gantt", &run(), &whole, Lanes::All),
            gantt::draw("late", &run(), &late, Lanes::All),
        ];
        for figure in figures {
            let drawing = figure.expect("there is something to draw").drawing;
            assert!(drawing.clipped().is_empty(), "{:?}", drawing.clipped());
        }
    }
}
