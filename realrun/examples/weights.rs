//! Writes the random weights of a net as safetensors, by the names that they have in PyTorch.
//!
//! ```text
//! cargo run --release -p tandem-realrun --example weights NET SEED FILE
//! ```
//!
//! `src/accelerator/nets/reference.py` computes with them what the tests compare the net with.

use std::error::Error;

use realrun::accelerator::nets::{NetName, random_tensors};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [net, seed, file] = &arguments[..] else {
        return Err("three arguments are needed: NET SEED FILE".into());
    };
    let tensors = random_tensors(net.parse::<NetName>()?, seed.parse()?)?;
    candle_core::safetensors::save(&tensors.into_iter().collect(), file)?;
    Ok(())
}
