//! What requests carry: real images and tensors for nets, seeded bytes for synthetic work.

use rand::Rng;
use schema::nets::NetInfo;
use schema::random::{Seed, stream};
use schema::scenario::{InputFile, Work};

use crate::accelerator::nets::NetName;
use crate::accelerator::preprocess::{Preprocessor, encode};

/// Size of the image that a client's preprocessed payload is made from: the sample image of the
/// reference study, in pixels.
const SAMPLE_IMAGE: (usize, usize) = (500, 546);

/// A payload of `length` bytes for `work`, the same for the same seed.
pub(super) fn make(work: &Work, length: usize, seed: Seed) -> Vec<u8> {
    match work {
        Work::Net {
            input: InputFile::Preprocessed,
            side,
            net,
            ..
        } => tensor(net, *side as usize, seed),
        Work::Net {
            input: InputFile::Raw { width, height },
            ..
        } => image(*width as usize, *height as usize, seed),
        Work::Synthetic(_) | Work::Profiled(_) | Work::Kernels(_) => {
            let mut bytes = vec![0; length];
            stream(seed, "payload").fill_bytes(&mut bytes);
            bytes
        }
    }
}

/// A picture with smooth shades and some noise: resizing costs the same whatever it shows.
fn image(width: usize, height: usize, seed: Seed) -> Vec<u8> {
    let mut rng = stream(seed, "payload");
    let mut pixels = vec![0; 3 * width * height];
    rng.fill_bytes(&mut pixels);
    for (index, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = (index / 3 % width, index / 3 / width);
        let shade = (x * 128 / width + y * 96 / height) as u8;
        *pixel = shade + (*pixel >> 3);
    }
    pixels
}

fn tensor(net: &NetInfo, side: usize, seed: Seed) -> Vec<u8> {
    let (width, height) = SAMPLE_IMAGE;
    let mut values = vec![0.0; 3 * side * side];
    let net: NetName = net
        .name
        .parse()
        .expect("the scenario's nets are those of the accelerator");
    Preprocessor::new(width, height, side)
        .normalised(net.normalisation())
        .run(&image(width, height, seed), &mut values);
    let mut bytes = vec![0; 4 * values.len()];
    encode(&values, &mut bytes);
    bytes
}
