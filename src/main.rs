//! The command `tandem`: one file a verb, each composing the crates and holding no logic of theirs.
#![forbid(unsafe_code)]

mod cli;
mod failure;
mod page;
mod placing;
mod progress;
mod validation;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match verbs::run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
