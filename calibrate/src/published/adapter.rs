//! A network adapter, by the size of messages.

use std::collections::BTreeMap;

use schema::profile::{Direction, parameter};

use super::bench::EVERY;
use super::study::{Level, Study, profile_file, time};
use super::{File, StudyError};
use crate::gpu::parts::significant;
use crate::nic::{CX6, LatencyPoint, NicFitError, NicLaw};
use crate::spread::{Observation, directions, scatter};

/// Source of what was known of the adapter's measurement before the fit.
const KNOWN: &str = "known beforehand, calibrate/src/nic.rs";

/// Parameters of its law, with the burst.
const N_TERMS: f64 = 4.0;

/// A network adapter: every other size is held out, the first of them first.
pub(super) fn adapter(points: &[LatencyPoint]) -> Result<[File; 2], StudyError> {
    let is_held_out = |index: usize| index.is_multiple_of(2);
    let fitted_to: Vec<LatencyPoint> = (points.iter().enumerate())
        .filter(|(index, _)| !is_held_out(*index))
        .map(|(_, point)| *point)
        .collect();
    let fitted = NicLaw::fit(&fitted_to, &CX6)?;
    let mut law = fitted.law;
    for figure in [&mut law.constant, &mut law.fetch, &mut law.pcie] {
        *figure = significant(*figure);
    }
    let source =
        "fitted to every other size of a posted log of ib_write_lat, table ib-write-lat-cx6";
    let mut profile = law.profile(&CX6, source);
    "ib-write-lat-cx6".clone_into(&mut profile.name);
    let [constant, fetch, pcie] = fitted.errors;
    for (name, figure) in profile
        .parts
        .values_mut()
        .flat_map(|part| &mut part.parameters)
    {
        let error = match name.as_str() {
            // Half of the constant's, as of its value.
            parameter::NIC_LATENCY => constant / 2.0,
            parameter::DMA_READ_LATENCY => fetch,
            parameter::PCIE_BANDWIDTH => pcie,
            parameter::BURST => 0.0,
            _ => {
                KNOWN.clone_into(&mut figure.source);
                0.0
            }
        };
        figure.standard_error = significant(error);
        let reach = 1.96 * figure.standard_error;
        figure.range = Some([figure.value - reach, figure.value + reach]);
    }
    for law in profile
        .parts
        .values_mut()
        .flat_map(|part| part.costs.values_mut())
    {
        law.range = EVERY;
        let is_free = law.base <= 0.0 && law.slope <= 0.0;
        let source = if is_free { "by definition" } else { KNOWN };
        source.clone_into(&mut law.source);
    }
    let residuals: Vec<f64> = (fitted_to.iter())
        .map(|point| (law.expected(&CX6, point.bytes) / point.time).ln())
        .collect();
    profile.spread = spread(&law, &fitted_to, &residuals)?;
    let scatter = scatter(&residuals, N_TERMS);
    let levels = points.iter().enumerate().map(|(index, point)| {
        let bytes = point.bytes;
        let there_and_back = time(2.0 * point.time, 1e-6, "us");
        Level {
            label: format!("{bytes} B"),
            set: format!(
                "\"stages.echo.serve.synthetic\" = {{ time = \"0 s\", input = \"{bytes} B\", output = \"{bytes} B\" }}"
            ),
            measured: format!("measured = {{ p50 = {there_and_back} }}"),
            scatter: ("p50", scatter),
            is_held_out: is_held_out(index),
        }
    });
    let study = Study {
        path: "validation/ib-write-lat-cx6.toml",
        name: "ib-write-lat-cx6",
        about: &[
            "Messages between two ConnectX-6 of 200 Gbit/s through a switch. ib_write_lat sends a message to and fro and prints half a round trip; here a request is a message there and one of its size back, so that what is compared is twice the printed figure (its typical one, the median) with the time of a request. Half of both is the one-way latency, and errors are the same.",
            "A user's posted log of perftest. The adapter of the profile is fitted to every other size; the smallest and the largest are held out.",
        ],
        scenario: "../network/ping.toml",
        profiles: &["../profiles/ib-write-lat-cx6.toml"],
        set: "\"run.measure\" = { requests = 4 }",
        factor: "message",
        draws: 40,
    };
    let study = study.file(&levels.collect::<Vec<_>>());
    Ok([
        profile_file("profiles/ib-write-lat-cx6.toml", &profile),
        study,
    ])
}

/// The directions in which the adapter's latency, fetch and PCIe links may be off, of a law with these
/// residuals (logarithms).
fn spread(
    law: &NicLaw,
    points: &[LatencyPoint],
    residuals: &[f64],
) -> Result<BTreeMap<String, Direction>, NicFitError> {
    let n = points.len();
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let deviation = (squares / (n as f64 - N_TERMS)).sqrt();
    let observations = points.iter().map(|point| Observation {
        derivatives: law.derivatives(&CX6, point.bytes).into(),
        deviation,
    });
    // The constant has more in it than the two adapters.
    let latency = law.latency_of_each(&CX6);
    let followers = [
        (parameter::NIC_LATENCY, law.constant / (2.0 * latency)),
        (parameter::DMA_READ_LATENCY, 1.0),
        (parameter::PCIE_BANDWIDTH, 1.0),
    ];
    let followers = followers.map(|(name, slope)| vec![(format!("nic/{name}"), slope)]);
    let observations: Vec<Observation> = observations.collect();
    directions("ib-write-lat-cx6", &observations, &followers).ok_or(NicFitError::Unidentified { n })
}
