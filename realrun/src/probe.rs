//! Probes: scenarios that measure one part each.
