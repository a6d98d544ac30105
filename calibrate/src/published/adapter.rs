//! A network adapter, by the size of messages.

use schema::profile::parameter;

use super::bench::EVERY;
use super::study::{Level, Study, profile_file, time};
use super::{File, StudyError};
use crate::gpu::parts::significant;
use crate::nic::{CX6, LatencyPoint, NicLaw};

/// Source of what was known of the adapter's measurement before the fit.
const KNOWN: &str = "known beforehand, calibrate/src/nic.rs";

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
    let levels = points.iter().enumerate().map(|(index, point)| {
        let bytes = point.bytes;
        let there_and_back = time(2.0 * point.time, 1e-6, "us");
        Level {
            label: format!("{bytes} B"),
            set: format!(
                "\"stages.echo.serve.synthetic\" = {{ time = \"0 s\", input = \"{bytes} B\", output = \"{bytes} B\" }}"
            ),
            measured: format!("measured = {{ p50 = {there_and_back} }}"),
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
    };
    let study = study.file(&levels.collect::<Vec<_>>());
    Ok([
        profile_file("profiles/ib-write-lat-cx6.toml", &profile),
        study,
    ])
}
