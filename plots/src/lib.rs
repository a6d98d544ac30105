//! Figures and the report, drawn from runs.
