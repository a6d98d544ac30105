//! Writes the studies of published measurements that are held out in part, and their profiles, to a
//! folder of scenarios:
//! `cargo run --release -p tandem-calibrate --example published_studies -- scenarios`.
#![expect(clippy::print_stdout, reason = "says what it wrote")]

use std::error::Error;
use std::path::PathBuf;

use calibrate::published;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: published_studies FOLDER".into());
    };
    let folder = PathBuf::from(folder);
    for file in published::files()? {
        let path = folder.join(file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, file.text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
