//! `tandem export RUN --chrome`: writes a run as a file for another tool.

use std::process::ExitCode;

use schema::run::Run;

use crate::cli::{Common, Export};
use crate::failure::Failure;

pub(super) fn run(common: &Common, arguments: &Export) -> Result<ExitCode, Failure> {
    let run = Run::load(&arguments.run)?;
    if !run.has_trace() {
        let name = arguments.run.display().to_string();
        return Err(super::without_trace(&name, "`export` writes"));
    }
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| arguments.run.join("chrome.json"));
    plots::chrome::save(&run, &arguments.window.view(), &out)?;
    if common.json {
        super::print(&serde_json::to_string_pretty(
            &serde_json::json!({ "files": [out] }),
        )?);
    } else {
        super::print(&out.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}
