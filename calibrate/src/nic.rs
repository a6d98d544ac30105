//! Fits network adapters to published one-way latencies of messages by size.
//!
//! What the engine lets a message take between two adapters is a closed form of a few figures (see
//! [`NicLaw`]), so what is fitted here is what it runs. Three of them are fitted: a time that every
//! message takes, a time more where the payload is not inline, and the bandwidth of the adapters' PCIe
//! links. The inline limit is a setting of the measurement, the rate of the wire and the headers are the
//! protocol's, and the burst is the power of two that fits best. What each message takes cannot be
//! told apart from outside: [`Known`] says how much of it is the cores' and the switch's, and the rest
//! is divided equally between the two adapters.
//!
//! What is left out: how latencies vary, and what depends on the number of queue pairs; the
//! measurements are typical times of one.

use std::collections::BTreeMap;

use nalgebra::{Matrix3, Vector3};
use schema::profile::{CostLaw, Driver, PROFILE_FORMAT, Parameter, Part, PartKind, Profile};
use schema::profile::{cost, parameter};
use schema::scenario::{CompletionBy, Transport};

use crate::gpu::tables::{Table, TableError};

/// The bursts among which a fit chooses, in packets.
const BURSTS: [u64; 5] = [1, 2, 4, 8, 16];

/// How long a message of a size took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LatencyPoint {
    /// Its bytes.
    pub bytes: u64,
    /// Half a round trip, in seconds.
    pub time: f64,
}

/// The published latencies of a ConnectX-6, `tables/ib-write-lat-cx6.csv`, by size.
///
/// # Errors
/// If the table cannot be read; it can.
pub fn cx6() -> Result<Vec<LatencyPoint>, TableError> {
    let text = include_str!("../tables/ib-write-lat-cx6.csv");
    let table = Table::parse("ib-write-lat-cx6", text)?;
    let point = |row: crate::gpu::tables::Row<'_>| {
        Ok(LatencyPoint {
            bytes: row.number("bytes")? as u64,
            time: row.number("time_us")? * 1e-6,
        })
    };
    table.rows().map(point).collect()
}

/// What is known of a measurement beforehand.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Known {
    /// Most bytes of a message that went inline.
    pub inline_limit: u64,
    /// Most bytes of a message in a packet, and what it takes on the wire beside them.
    pub mtu: u64,
    /// Bytes of the headers of a packet.
    pub header: u64,
    /// Rate of the wire, in bytes per second.
    pub wire: f64,
    /// Messages that an adapter can send in a second.
    pub message_rate: f64,
    /// Core time to post a message, in seconds.
    pub post: f64,
    /// Core time to take a completion that was polled for, in seconds.
    pub poll: f64,
    /// Delay of the switch, in seconds.
    pub switch: f64,
}

/// The measurement of [`cx6`].
///
/// Headers are those of InfiniBand: LRH 8, BTH 12, ICRC 4, VCRC 2. Message rate: ConnectX-6 data
/// sheet. Switch: Quantum data sheet. Core times are estimates.
pub const CX6: Known = Known {
    inline_limit: 220,
    mtu: 4096,
    header: 26,
    wire: 25e9,
    message_rate: 215e6,
    post: 100e-9,
    poll: 50e-9,
    switch: 130e-9,
};

/// What a message takes: `constant`, `fetch` if it is not inline, and then its bytes at the rate of the
/// PCIe links, a burst (or all of it, if that is less) at the rate of the wire, and one at that of the
/// PCIe links again.
///
/// That is what comes of three stations in a row, each of which passes on a burst when it has all of it,
/// when the first and the last are no faster than the wire.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NicLaw {
    /// In seconds.
    pub constant: f64,
    /// In seconds.
    pub fetch: f64,
    /// Bandwidth of the PCIe links, in bytes per second.
    pub pcie: f64,
    /// In bytes.
    pub burst: u64,
}

/// A law that was fitted, with its standard errors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FittedNicLaw {
    /// The estimate.
    pub law: NicLaw,
    /// Standard errors of `constant` and `fetch`, in seconds, and of `pcie`, in bytes per second.
    pub errors: [f64; 3],
    /// Mean absolute relative error on what it was fitted to.
    pub residual: f64,
}

/// Why a law cannot be fitted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NicFitError {
    /// The points do not tell its terms apart.
    #[error(
        "fit a network adapter: {n} points do not tell its terms apart; measure messages below and above the inline limit, and long ones"
    )]
    Unidentified {
        /// Number of points.
        n: usize,
    },
}

impl Known {
    /// The terms of a message: what multiplies the constant, the fetch and a byte's time on PCIe; and
    /// its time on the wire.
    fn terms(&self, bytes: u64, burst: u64) -> ([f64; 3], f64) {
        let inline = bytes <= self.inline_limit;
        let last = bytes.min(burst);
        let wire = last + last.div_ceil(self.mtu).max(1) * self.header;
        let moved = if inline { last } else { bytes + last };
        let fetch = if inline { 0.0 } else { 1.0 };
        ([1.0, fetch, moved as f64], wire as f64 / self.wire)
    }
}

impl NicLaw {
    /// Least squares of relative errors, with the burst that has the least.
    ///
    /// # Errors
    /// If the points do not tell the terms apart.
    pub fn fit(points: &[LatencyPoint], known: &Known) -> Result<FittedNicLaw, NicFitError> {
        let fits = BURSTS.map(|packets| fit_with(points, known, packets * known.mtu));
        let fits = fits.into_iter().flatten();
        let best = fits.min_by(|a, b| a.1.total_cmp(&b.1));
        let (fitted, _) = best.ok_or(NicFitError::Unidentified { n: points.len() })?;
        Ok(fitted)
    }

    /// What a message takes, in seconds.
    pub fn expected(&self, known: &Known, bytes: u64) -> f64 {
        let ([one, fetch, moved], wire) = known.terms(bytes, self.burst);
        one * self.constant + fetch * self.fetch + moved / self.pcie + wire
    }

    /// By what the logarithm of what a message takes changes with those of the constant, the fetch and the
    /// bandwidth of the PCIe links.
    pub fn derivatives(&self, known: &Known, bytes: u64) -> [f64; 3] {
        let ([one, fetch, moved], _) = known.terms(bytes, self.burst);
        let parts = [one * self.constant, fetch * self.fetch, -moved / self.pcie];
        parts.map(|part| part / self.expected(known, bytes))
    }

    /// Time that a message takes through each adapter, beside all else, in seconds.
    pub fn latency_of_each(&self, known: &Known) -> f64 {
        let elsewhere = known.post + known.poll + known.switch + 1.0 / known.message_rate;
        (self.constant - elsewhere) / 2.0
    }

    /// The adapter, a host of which only what adapters need takes time, and a switch, in a profile as
    /// parts `nic`, `host` and `switch`.
    pub fn profile(&self, known: &Known, source: &str) -> Profile {
        let number = |value: f64, unit: &str| Parameter {
            value,
            standard_error: 0.0,
            unit: unit.to_owned(),
            range: None,
            source: source.to_owned(),
        };
        let numbers = [
            (parameter::MESSAGE_RATE, number(known.message_rate, "1/s")),
            (
                parameter::INLINE_LIMIT,
                number(known.inline_limit as f64, "B"),
            ),
            (parameter::PATH_MTU, number(known.mtu as f64, "B")),
            (parameter::PACKET_HEADER, number(known.header as f64, "B")),
            (
                parameter::NIC_LATENCY,
                number(self.latency_of_each(known), "s"),
            ),
            (parameter::DMA_READ_LATENCY, number(self.fetch, "s")),
            (parameter::PCIE_BANDWIDTH, number(self.pcie, "B/s")),
            (parameter::BURST, number(self.burst as f64, "B")),
        ];
        let law = |seconds| CostLaw::exact(Driver::Requests, seconds, 0.0, source);
        let free = [
            cost::PREPARE.to_owned(),
            cost::POSTPROCESS.to_owned(),
            cost::DISPATCH.to_owned(),
            cost::NOTIFY.to_owned(),
            cost::H2D.to_owned(),
            cost::D2H.to_owned(),
            cost::inference("synthetic"),
        ];
        let mut host: BTreeMap<String, CostLaw> = free.map(|name| (name, law(0.0))).into();
        host.insert(cost::POST.to_owned(), law(known.post));
        host.insert(cost::completion(CompletionBy::Poll), law(known.poll));
        let switch = [(cost::delay(Transport::Rdma), law(known.switch))];
        let part = |kind, parameters, costs| Part {
            kind,
            parameters,
            costs,
            nets: BTreeMap::new(),
        };
        let numbers = numbers.map(|(name, number)| (name.to_owned(), number));
        Profile {
            format: PROFILE_FORMAT,
            name: "nic".to_owned(),
            fitted_to: BTreeMap::new(),
            spread: BTreeMap::new(),
            parts: [
                ("nic", part(PartKind::Nic, numbers.into(), BTreeMap::new())),
                ("host", part(PartKind::Host, BTreeMap::new(), host)),
                (
                    "switch",
                    part(PartKind::Link, BTreeMap::new(), switch.into()),
                ),
            ]
            .map(|(name, part)| (name.to_owned(), part))
            .into(),
        }
    }
}

/// The law with this burst, and the sum of its squared relative errors; `None` if the points do not
/// tell its terms apart.
fn fit_with(points: &[LatencyPoint], known: &Known, burst: u64) -> Option<(FittedNicLaw, f64)> {
    // Scaled, so that all terms are of like size.
    const SCALE: f64 = 1e-9;
    let mut normal = Matrix3::zeros();
    let mut right = Vector3::zeros();
    for point in points {
        let ([one, fetch, moved], wire) = known.terms(point.bytes, burst);
        let row = Vector3::new(one, fetch, moved) * SCALE / point.time;
        normal += row * row.transpose();
        right += row * (1.0 - wire / point.time);
    }
    let inverse = normal.try_inverse()?;
    let estimate = inverse * right * SCALE;
    let law = NicLaw {
        constant: estimate[0],
        fetch: estimate[1],
        pcie: 1.0 / estimate[2],
        burst,
    };
    let errors = points
        .iter()
        .map(|point| law.expected(known, point.bytes) / point.time - 1.0);
    let squares: f64 = errors.clone().map(|error| error * error).sum();
    let freedom = (points.len() as f64 - 3.0).max(1.0);
    let deviation = |index: usize| (inverse[(index, index)] * squares / freedom).sqrt() * SCALE;
    let is_sound = estimate.iter().all(|x| x.is_finite() && *x > 0.0);
    let fitted = FittedNicLaw {
        law,
        errors: [
            deviation(0),
            deviation(1),
            deviation(2) * law.pcie * law.pcie,
        ],
        residual: errors.map(f64::abs).sum::<f64>() / points.len() as f64,
    };
    is_sound.then_some((fitted, squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_recovered_from_its_own_times() {
        let law = NicLaw {
            constant: 1.5e-6,
            fetch: 0.7e-6,
            pcie: 20e9,
            burst: 4 * 4096,
        };
        let points: Vec<LatencyPoint> = (0..22)
            .map(|power| LatencyPoint {
                bytes: 1 << power,
                time: law.expected(&CX6, 1 << power),
            })
            .collect();
        let fitted = NicLaw::fit(&points, &CX6).unwrap().law;
        assert_eq!(fitted.burst, law.burst);
        let ratios = [
            fitted.constant / law.constant,
            fitted.fetch / law.fetch,
            fitted.pcie / law.pcie,
        ];
        assert!(
            ratios.iter().all(|ratio| (ratio - 1.0).abs() < 1e-6),
            "{ratios:?}"
        );
    }

    #[test]
    fn messages_that_are_all_inline_identify_nothing() {
        let points = [2, 64, 128].map(|bytes| LatencyPoint { bytes, time: 2e-6 });
        let n = points.len();
        assert_eq!(
            NicLaw::fit(&points, &CX6),
            Err(NicFitError::Unidentified { n })
        );
    }

    #[test]
    fn published_latencies_are_fitted() {
        let points = cx6().unwrap();
        assert_eq!(points.len(), 17);
        let fitted = NicLaw::fit(&points, &CX6).unwrap();
        assert!(fitted.residual < 0.04, "{fitted:?}");
    }
}
