//! Writes the profiles of the GPUs that are fitted to published measurements to a folder:
//! `cargo run --release -p tandem-calibrate --example public_parts -- scenarios/profiles`.
#![expect(clippy::print_stdout, reason = "says what it wrote")]

use std::error::Error;
use std::path::PathBuf;

use calibrate::gpu::parts::PUBLIC;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: public_parts FOLDER".into());
    };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    for (name, make) in PUBLIC {
        let text = format!(
            "# Written by `cargo run --release -p tandem-calibrate --example public_parts -- scenarios/profiles`.\n\
             # How it was fitted: calibrate/METHODOLOGY.md.\n{}",
            make()?.to_toml()
        );
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
