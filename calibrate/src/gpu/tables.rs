//! Published measurements that parts are fitted to.
//!
//! The tables themselves, with their sources, are in `tables/` next to this crate's manifest, as
//! comma-separated values. They are part of the program: nothing is read when it runs.

use super::interference::{PairPoint, PairedNet};
use super::share::SharePoint;
use super::tokens::TokenPoint;

/// Milliseconds of a table, as seconds.
const MS: f64 = 1e-3;

/// A table: lines of comma-separated values below a line of column names; lines that start with
/// `#` are comments.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    name: &'a str,
    columns: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

/// What is wrong with a table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// It has no line of column names.
    #[error("read table {table}: it has no line of column names")]
    NoColumns {
        /// The table.
        table: String,
    },
    /// A row has more or fewer values than there are columns.
    #[error("read table {table}: `{row}` has {found} values, {expected} are needed")]
    Ragged {
        /// The table.
        table: String,
        /// The row.
        row: String,
        /// Its number of values.
        found: usize,
        /// The number of columns.
        expected: usize,
    },
    /// It lacks a column.
    #[error("read table {table}: it has no column `{column}`")]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A value is not a number.
    #[error("read table {table}: `{found}` in column `{column}` is not a number")]
    NoNumber {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The value.
        found: String,
    },
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table<'a>,
    values: &'a [&'a str],
}

impl<'a> Table<'a> {
    /// Reads the table called `name` from `text`.
    ///
    /// # Errors
    /// If there are no column names, or a row does not have one value a column.
    pub fn parse(name: &'a str, text: &'a str) -> Result<Table<'a>, TableError> {
        let table = || name.to_owned();
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let columns = lines
            .next()
            .ok_or_else(|| TableError::NoColumns { table: table() })?;
        let columns: Vec<&str> = columns.split(',').collect();
        let mut rows = Vec::new();
        for line in lines {
            let row: Vec<&str> = line.split(',').collect();
            if row.len() != columns.len() {
                return Err(TableError::Ragged {
                    table: table(),
                    row: line.to_owned(),
                    found: row.len(),
                    expected: columns.len(),
                });
            }
            rows.push(row);
        }
        Ok(Table {
            name,
            columns,
            rows,
        })
    }

    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row {
            table: self,
            values,
        })
    }
}

impl<'a> Row<'a> {
    /// The text in `column`.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn text(&self, column: &str) -> Result<&'a str, TableError> {
        let index = self.table.columns.iter().position(|c| *c == column);
        index
            .map(|index| self.values[index])
            .ok_or_else(|| TableError::NoColumn {
                table: self.table.name.to_owned(),
                column: column.to_owned(),
            })
    }

    /// The number in `column`.
    ///
    /// # Errors
    /// If there is no such column, or no number in it.
    pub fn number(&self, column: &str) -> Result<f64, TableError> {
        let text = self.text(column)?;
        let number = text.parse().ok().filter(|n: &f64| n.is_finite());
        number.ok_or_else(|| TableError::NoNumber {
            table: self.table.name.to_owned(),
            column: column.to_owned(),
            found: text.to_owned(),
        })
    }
}

/// A table of this crate, row by row.
fn read<T>(name: &str, text: &str, row: impl Fn(Row) -> Result<T, TableError>) -> Vec<T> {
    let table = Table::parse(name, text).expect("tables of this crate are well formed");
    let rows = table.rows().map(row).collect::<Result<_, _>>();
    rows.expect("tables of this crate are well formed")
}

/// The nets of [`v100_solo`] and [`v100_pairs`].
pub const V100_NETS: [&str; 4] = ["alexnet", "resnet50", "vgg19", "ssd"];

/// A net alone on a V100, by net of [`V100_NETS`].
pub fn v100_solo() -> [Vec<SharePoint>; 4] {
    let text = include_str!("../../tables/v100-mps-solo.csv");
    let rows = read("v100-mps-solo", text, |row| {
        let point = SharePoint {
            batch: row.number("batch")?,
            share: row.number("share")?,
            time: row.number("time_ms")? * MS,
        };
        Ok((row.text("net")?.to_owned(), point))
    });
    V100_NETS.map(|net| {
        let rows = rows.iter().filter(|(name, _)| name == net);
        rows.map(|(_, point)| *point).collect()
    })
}

/// Two nets side by side on the same V100; nets by index into [`V100_NETS`].
pub fn v100_pairs() -> Vec<PairPoint> {
    let text = include_str!("../../tables/v100-mps-pairs.csv");
    read("v100-mps-pairs", text, |row| {
        let share = row.number("share_1")?;
        let net = |which: &str, batch: &str, share: f64| {
            let name = row.text(which)?;
            let index = V100_NETS.iter().position(|net| *net == name);
            Ok(PairedNet {
                net: index.expect("the pairs are of the four nets"),
                batch: row.number(batch)?,
                share,
            })
        };
        Ok(PairPoint {
            nets: [
                net("net_1", "batch_1", share)?,
                net("net_2", "batch_2", 1.0 - share)?,
            ],
            times: [row.number("time_1_ms")? * MS, row.number("time_2_ms")? * MS],
        })
    })
}

/// A language model on A100s.
#[derive(Clone, PartialEq, Debug)]
pub struct LanguageNet {
    /// Its name.
    pub name: String,
    /// GPUs that each layer is divided over (tensor parallelism).
    pub gpus: u32,
    /// What was measured.
    pub points: Vec<TokenPoint>,
}

/// LLaMA on A100s, one for each net and number of GPUs.
pub fn a100_llama() -> Vec<LanguageNet> {
    let text = include_str!("../../tables/a100-llama.csv");
    let rows = read("a100-llama", text, |row| {
        let point = TokenPoint {
            batch: row.number("batch")?,
            length: row.number("length")?,
            share: row.number("share")?,
            prefill: row.number("prefill_ms")? * MS,
            decode: row.number("decode_ms")? * MS,
        };
        Ok((
            row.text("net")?.to_owned(),
            row.number("gpus")? as u32,
            point,
        ))
    });
    let mut nets: Vec<LanguageNet> = Vec::new();
    for (name, gpus, point) in rows {
        let known = nets
            .iter_mut()
            .find(|net| net.name == name && net.gpus == gpus);
        match known {
            Some(net) => net.points.push(point),
            None => nets.push(LanguageNet {
                name,
                gpus,
                points: vec![point],
            }),
        }
    }
    nets
}

/// A load of a server that was measured, in closed loop.
#[derive(Clone, PartialEq, Debug)]
pub struct ServedLoad {
    /// The GPU's part.
    pub gpu: String,
    /// Requests outstanding.
    pub outstanding: u32,
    /// Images of a request.
    pub images: u32,
    /// Images per second.
    pub throughput: f64,
    /// Mean time from end to end, in seconds.
    pub latency: f64,
    /// 90th percentile of that.
    pub p90: f64,
    /// Its parts, where they were measured.
    pub parts: Option<ServedParts>,
}

/// Mean parts of the time of a request, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ServedParts {
    /// All that the server does not see.
    pub network: f64,
    /// Until an inference context takes it.
    pub queue: f64,
    /// Until its input is where the GPU reads it.
    pub input: f64,
    /// Forward pass.
    pub inference: f64,
}

/// ResNet-50 served by Triton, on four GPUs.
pub fn triton_resnet50() -> Vec<ServedLoad> {
    let text = include_str!("../../tables/triton-resnet50.csv");
    read("triton-resnet50", text, |row| {
        let ms = |column| Ok(row.number(column)? * MS);
        let parts = ServedParts {
            network: ms("network_ms")?,
            queue: ms("queue_ms")?,
            input: ms("input_ms")?,
            inference: ms("inference_ms")?,
        };
        Ok(ServedLoad {
            gpu: row.text("gpu")?.to_owned(),
            outstanding: row.number("outstanding")? as u32,
            images: row.number("images")? as u32,
            throughput: row.number("throughput")?,
            latency: ms("latency_ms")?,
            p90: ms("p90_ms")?,
            parts: (parts.inference > 0.0).then_some(parts),
        })
    })
}

/// A load that was served over the network, and the most that the server could serve.
#[derive(Clone, PartialEq, Debug)]
pub struct NetworkLoad {
    /// The net.
    pub net: String,
    /// GPUs that shared the load.
    pub gpus: f64,
    /// Most requests in a batch.
    pub batch: f64,
    /// Requests per second of all GPUs when all of them were there from the start.
    pub offline: f64,
    /// Requests per second of all GPUs, which came at random.
    pub rate: f64,
    /// Their times from end to end, in seconds: mean, median, 90th, 99th and 99.9th percentile.
    pub times: [f64; 5],
}

/// Nets served over the network by eight A100.
pub fn mlperf_network_a100() -> Vec<NetworkLoad> {
    let text = include_str!("../../tables/mlperf-network-a100.csv");
    read("mlperf-network-a100", text, |row| {
        let times = ["mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms"];
        let mut in_seconds = [0.0; 5];
        for (time, column) in in_seconds.iter_mut().zip(times) {
            *time = row.number(column)? * MS;
        }
        Ok(NetworkLoad {
            net: row.text("net")?.to_owned(),
            gpus: row.number("gpus")?,
            batch: row.number("batch")?,
            offline: row.number("offline")?,
            rate: row.number("rate")?,
            times: in_seconds,
        })
    })
}
