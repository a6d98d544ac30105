//! Preprocessing of an image: resize, convert, normalise, transpose.
//!
//! The resize is bilinear with half-pixel centres, as OpenCV's `INTER_LINEAR` and PyTorch's
//! `align_corners=False` without antialiasing: output pixel `d` of `n` lies at
//! `(d + 0.5) * size / n - 0.5` of an input of `size` pixels, and pixels beyond the edge repeat the
//! edge. The whole image is resized, without a crop and whatever its aspect ratio.
//! Unlike OpenCV on 8-bit images, it computes in 32-bit floats and rounds no value in between.
//!
//! Values are brought to `[0, 1]` and, for the nets of torchvision, normalised by the mean and the
//! standard deviation of ImageNet's channels, as its weights expect; output is plane by plane (CHW).

use super::spec::CHANNELS;

/// Mean of ImageNet's red, green and blue in `[0, 1]`, as in torchvision's transforms.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of ImageNet's red, green and blue, as in torchvision's transforms.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// What values between 0 and 1 become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// [`IMAGENET_MEAN`] is taken away and [`IMAGENET_STD`] divided by.
    Imagenet,
    /// They stay as they are, as darknet has it.
    Unit,
}

/// Preprocesses images of one size, allocating nothing an image.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    normalisation: Normalisation,
    n_payload: usize,
    width: usize,
    side: usize,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
    above: ResizedRow,
    below: ResizedRow,
}

/// Two neighbours and how far from the first to the second the sampled point lies.
#[derive(Debug, Clone, Copy)]
struct Tap {
    near: usize,
    far: usize,
    /// In `[0, 1)`.
    weight: f32,
}

/// A row of the input brought to the output's width, channel by channel.
#[derive(Debug, Clone)]
struct ResizedRow {
    /// Which row of the input; none before the first image.
    idx: Option<usize>,
    values: Vec<f32>,
}

impl Preprocessor {
    /// For images of `width` by `height` pixels and a net whose input has `side` pixels a side,
    /// normalised as for ImageNet.
    ///
    /// # Panics
    ///
    /// If a size is zero.
    #[must_use]
    pub fn new(width: usize, height: usize, side: usize) -> Self {
        assert!(
            width > 0 && height > 0 && side > 0,
            "{width}x{height} to {side}: a size is zero"
        );
        let row = ResizedRow {
            idx: None,
            values: vec![0.0; CHANNELS * side],
        };
        Self {
            normalisation: Normalisation::Imagenet,
            n_payload: CHANNELS * width * height,
            width,
            side,
            columns: taps(width, side),
            rows: taps(height, side),
            above: row.clone(),
            below: row,
        }
    }

    /// This one with another normalisation.
    #[must_use]
    pub fn normalised(self, normalisation: Normalisation) -> Self {
        Self {
            normalisation,
            ..self
        }
    }

    /// Preprocesses `pixels`, 8-bit RGB of `width * height` pixels row by row, into `tensor`,
    /// `3 * side * side` floats.
    ///
    /// # Panics
    ///
    /// If one of the two has another length.
    pub fn run(&mut self, pixels: &[u8], tensor: &mut [f32]) {
        let plane = self.side * self.side;
        assert_eq!(pixels.len(), self.n_payload, "bytes of the image");
        assert_eq!(tensor.len(), CHANNELS * plane, "values of the tensor");
        self.above.idx = None;
        self.below.idx = None;
        for y in 0..self.side {
            let tap = self.rows[y];
            self.resize_rows(pixels, tap);
            for channel in 0..CHANNELS {
                let from = channel * self.side;
                let row = &mut tensor[channel * plane + y * self.side..][..self.side];
                let above = &self.above.values[from..][..self.side];
                let below = &self.below.values[from..][..self.side];
                let (gain, shift) = self.normalisation.of(channel);
                for ((out, above), below) in row.iter_mut().zip(above).zip(below) {
                    *out = (above + (below - above) * tap.weight) * gain + shift;
                }
            }
        }
    }

    /// Makes `above` and `below` the two rows of `tap`, keeping those already there.
    fn resize_rows(&mut self, pixels: &[u8], tap: Tap) {
        if self.below.idx == Some(tap.near) {
            std::mem::swap(&mut self.above, &mut self.below);
        }
        for (row, idx) in [(&mut self.above, tap.near), (&mut self.below, tap.far)] {
            if row.idx != Some(idx) {
                let stride = CHANNELS * self.width;
                row.fill(idx, &pixels[idx * stride..][..stride], &self.columns);
            }
        }
    }
}

impl ResizedRow {
    fn fill(&mut self, idx: usize, pixels: &[u8], columns: &[Tap]) {
        self.idx = Some(idx);
        for (channel, values) in self.values.chunks_exact_mut(columns.len()).enumerate() {
            for (value, tap) in values.iter_mut().zip(columns) {
                let near = f32::from(pixels[CHANNELS * tap.near + channel]);
                let far = f32::from(pixels[CHANNELS * tap.far + channel]);
                *value = near + (far - near) * tap.weight;
            }
        }
    }
}

/// Where each of `n` output pixels lies between the `size` input pixels.
fn taps(size: usize, n: usize) -> Vec<Tap> {
    (0..n)
        .map(|idx| {
            #[expect(clippy::cast_precision_loss, reason = "sizes of images are below 2^53")]
            let place = (idx as f64 + 0.5) * size as f64 / n as f64 - 0.5;
            let place = place.max(0.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and below `size`"
            )]
            let near = (place as usize).min(size - 1);
            let far = (near + 1).min(size - 1);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "a weight needs no more digits than a float has"
            )]
            let weight = if far == near {
                0.0
            } else {
                (place - near as f64) as f32
            };
            Tap { near, far, weight }
        })
        .collect()
}

impl Normalisation {
    /// What an 8-bit value of `channel` is multiplied by, and what is added then.
    fn of(self, channel: usize) -> (f32, f32) {
        match self {
            Self::Imagenet => {
                let std = IMAGENET_STD[channel];
                (1.0 / (255.0 * std), -IMAGENET_MEAN[channel] / std)
            }
            Self::Unit => (1.0 / 255.0, 0.0),
        }
    }
}

/// Writes `values` into `bytes`, in little-endian order.
///
/// # Panics
///
/// If `bytes` is not four times as long as `values`.
pub fn encode(values: &[f32], bytes: &mut [u8]) {
    assert_eq!(bytes.len(), size_of_val(values), "bytes of the values");
    let (chunks, _) = bytes.as_chunks_mut();
    for (chunk, value) in chunks.iter_mut().zip(values) {
        *chunk = value.to_le_bytes();
    }
}

/// Reads `values` from `bytes`, in little-endian order.
///
/// # Panics
///
/// If `bytes` is not four times as long as `values`.
pub fn decode(bytes: &[u8], values: &mut [f32]) {
    assert_eq!(bytes.len(), size_of_val(values), "bytes of the values");
    let (chunks, _) = bytes.as_chunks();
    for (value, chunk) in values.iter_mut().zip(chunks) {
        *value = f32::from_le_bytes(*chunk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(width: usize, height: usize, side: usize, pixels: &[u8]) -> Vec<f32> {
        let mut tensor = vec![0.0; CHANNELS * side * side];
        Preprocessor::new(width, height, side).run(pixels, &mut tensor);
        tensor
    }

    /// A grey image of the given pixels.
    fn grey(values: &[u8]) -> Vec<u8> {
        values.iter().flat_map(|&value| [value; 3]).collect()
    }

    /// The red plane, back on the scale of the pixels.
    fn red(tensor: &[f32]) -> Vec<f32> {
        let (gain, shift) = Normalisation::Imagenet.of(0);
        tensor[..tensor.len() / 3]
            .iter()
            .map(|x| (x - shift) / gain)
            .collect()
    }

    fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() <= tolerance,
                "{found}, not {expected}"
            );
        }
    }

    #[test]
    fn an_image_of_the_right_size_is_normalised_exactly() {
        let pixels: Vec<u8> = (0..CHANNELS * 5 * 5)
            .map(|i| (i * 37 % 256) as u8)
            .collect();
        let tensor = run(5, 5, 5, &pixels);
        for (idx, value) in tensor.iter().enumerate() {
            let (channel, place) = (idx / 25, idx % 25);
            let (gain, shift) = Normalisation::Imagenet.of(channel);
            let expected = f32::from(pixels[CHANNELS * place + channel]) * gain + shift;
            assert_eq!(value.to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn white_is_what_torchvision_makes_of_it() {
        // (1 - mean) / std.
        let tensor = run(1, 1, 1, &[255; 3]);
        assert_close(&tensor, &[2.248_908, 2.428_571, 2.64], 1e-5);
    }

    #[test]
    fn darknet_takes_values_between_zero_and_one() {
        let mut tensor = vec![0.0; 3];
        Preprocessor::new(1, 1, 1)
            .normalised(Normalisation::Unit)
            .run(&[0, 51, 255], &mut tensor);
        assert_close(&tensor, &[0.0, 0.2, 1.0], 1e-6);
    }

    #[test]
    fn a_constant_image_stays_constant_at_any_size() {
        for (width, height, side) in [(1, 1, 7), (500, 546, 224), (3, 40, 16)] {
            let tensor = run(width, height, side, &vec![99; CHANNELS * width * height]);
            assert_close(&red(&tensor), &vec![99.0; side * side], 1e-3);
        }
    }

    #[test]
    fn four_pixels_make_sixteen_with_quarter_weights() {
        // Places -0.25, 0.25, 0.75 and 1.25, the outer two held at the edge.
        let tensor = run(2, 2, 4, &grey(&[0, 40, 80, 200]));
        #[rustfmt::skip]
        let expected = [
             0.0, 10.0,  30.0,  40.0,
            20.0, 35.0,  65.0,  80.0,
            60.0, 85.0, 135.0, 160.0,
            80.0, 110.0, 170.0, 200.0,
        ];
        assert_close(&red(&tensor), &expected, 1e-3);
    }

    #[test]
    fn halving_takes_the_mean_of_four() {
        let tensor = run(4, 2, 2, &grey(&[0, 4, 10, 20, 8, 12, 30, 40]));
        // Width halves; the height is kept.
        assert_close(&red(&tensor), &[2.0, 15.0, 10.0, 35.0], 1e-3);
        let tensor = run(
            4,
            4,
            2,
            &grey(&[0, 4, 1, 1, 8, 12, 1, 1, 3, 3, 9, 9, 3, 3, 9, 9]),
        );
        assert_close(&red(&tensor), &[6.0, 1.0, 3.0, 9.0], 1e-3);
    }

    #[test]
    fn floats_pass_through_bytes() {
        let values = [1.5_f32, -0.0, f32::MIN_POSITIVE];
        let mut bytes = [0; 12];
        encode(&values, &mut bytes);
        assert_eq!(bytes[..4], [0, 0, 0xc0, 0x3f]);
        let mut back = [0.0; 3];
        decode(&bytes, &mut back);
        assert_eq!(back.map(f32::to_bits), values.map(f32::to_bits));
    }

    proptest! {
        #[test]
        fn no_value_leaves_the_range_of_the_pixels(
            (width, height, side, pixels) in (1_usize..9, 1_usize..9, 1_usize..12)
                .prop_flat_map(|(width, height, side)| {
                    let pixels = proptest::collection::vec(any::<u8>(), CHANNELS * width * height);
                    (Just(width), Just(height), Just(side), pixels)
                })
        ) {
            let values = red(&run(width, height, side, &pixels));
            let reds = pixels.iter().step_by(CHANNELS).copied().map(f32::from);
            let low = reds.clone().fold(f32::INFINITY, f32::min);
            let high = reds.fold(f32::NEG_INFINITY, f32::max);
            for value in values {
                prop_assert!(low - 1e-3 <= value && value <= high + 1e-3, "{value}");
            }
        }

        #[test]
        fn one_image_leaves_no_trace_in_the_next(
            first in proptest::collection::vec(any::<u8>(), 3 * 12),
            second in proptest::collection::vec(any::<u8>(), 3 * 12),
        ) {
            let mut reused = Preprocessor::new(4, 3, 5);
            let mut tensor = vec![0.0; 75];
            reused.run(&first, &mut tensor);
            reused.run(&second, &mut tensor);
            prop_assert_eq!(tensor, run(4, 3, 5, &second));
        }
    }
}
