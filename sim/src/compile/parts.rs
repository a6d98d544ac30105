//! Where the numbers of a part come from, and what is allowed of each.

use schema::profile::{Part, parameter};

use crate::error::SimError;

/// Where the numbers of a part come from: of a GPU, a network adapter or a host.
pub(super) struct PartOf<'a> {
    pub(super) name: &'a str,
    pub(super) part: &'a Part,
    /// File, line and key that ask for it.
    pub(super) wanted_by: String,
}

impl PartOf<'_> {
    /// A parameter, in its unit.
    pub(super) fn required(&self, name: &str) -> Result<f64, SimError> {
        match self.part.parameters.get(name) {
            Some(parameter) => self.checked(name, parameter.value),
            None => Err(SimError::NoParameter {
                wanted_by: self.wanted_by.clone(),
                part: self.name.to_owned(),
                parameter: name.to_owned(),
            }),
        }
    }

    pub(super) fn or(&self, name: &str, default: f64) -> Result<f64, SimError> {
        match self.part.parameters.get(name) {
            Some(parameter) => self.checked(name, parameter.value),
            None => Ok(default),
        }
    }

    fn checked(&self, name: &str, value: f64) -> Result<f64, SimError> {
        let below = match name {
            parameter::DUPLEX_PENALTY => 1.0,
            parameter::DRAM_OCCUPANCY => 0.9,
            _ => f64::INFINITY,
        };
        let from = match name {
            parameter::SMS
            | parameter::THREADS_PER_SM
            | parameter::BLOCKS_PER_SM
            | parameter::HARDWARE_QUEUES
            | parameter::PRIORITY_LEVELS
            | parameter::DRAM_BANDWIDTH
            | parameter::PCIE_BANDWIDTH
            | parameter::ROOT_COMPLEX_BANDWIDTH
            | parameter::MEMORY_BANDWIDTH
            | parameter::SOCKET_BANDWIDTH
            | parameter::MESSAGE_RATE
            | parameter::PATH_MTU
            | parameter::QP_CACHE
            | parameter::PAGE_SIZE
            | parameter::RATE
            | parameter::BURST => 1.0,
            parameter::MTU => 576.0,
            name if name.starts_with("gdr-") => 1e-3,
            parameter::TIME_SLICE => 1e-12,
            _ => 0.0,
        };
        let most = if name.starts_with("gdr-") {
            1.0
        } else {
            f64::INFINITY
        };
        if value >= from && value < below && value <= most {
            return Ok(value);
        }
        let below = if most.is_finite() {
            format!(" to {most}")
        } else if below.is_finite() {
            format!(" to below {below}")
        } else {
            " up".to_owned()
        };
        Err(SimError::Parameter {
            wanted_by: self.wanted_by.clone(),
            part: self.name.to_owned(),
            parameter: name.to_owned(),
            found: value,
            allowed: format!("from {from}{below}"),
        })
    }
}
