//! Discrete-event engine: scenario and profile to run.
