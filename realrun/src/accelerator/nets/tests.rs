//! Tests that hold for every net.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use candle_core::{DType, IndexOp as _};
use schema::nets::Output;

use super::weights::WeightSource;
use super::*;

/// Seed of the nets whose weights do not matter.
const SEED: u64 = 3;

/// The net that `load` makes of random weights.
pub(super) fn random<N>(load: impl FnOnce(&Scope<'_>) -> Result<N, AcceleratorError>) -> N {
    load(&Scope::root(&RandomWeights::new(SEED, &Device::Cpu))).unwrap()
}

/// An input of one black image.
pub(super) fn zeros(side: usize) -> Tensor {
    Tensor::zeros((1, 3, side, side), DType::F32, &Device::Cpu).unwrap()
}

/// `n` different images.
fn images(n: usize, side: usize) -> Tensor {
    let n_values = n * 3 * side * side;
    let values: Vec<f32> = (0..n_values).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap()
}

fn net(name: NetName, seed: u64) -> Net {
    Net::load(name, &Weights::Random { seed }, &Device::Cpu).unwrap()
}

/// The net of one seed, made once for all tests.
fn shared(name: NetName) -> Net {
    static NETS: [OnceLock<Net>; NetName::ALL.len()] =
        [const { OnceLock::new() }; NetName::ALL.len()];
    NETS[name as usize].get_or_init(|| net(name, SEED)).clone()
}

/// The values of every output, one after the other.
fn scores(net: &Net, input: &Tensor) -> Vec<f32> {
    net.forward(input)
        .unwrap()
        .iter()
        .flat_map(values)
        .collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Counts what is asked for, and gives zeros.
#[derive(Default)]
struct Counter {
    n_values: RefCell<BTreeMap<String, usize>>,
}

impl WeightSource for Counter {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, AcceleratorError> {
        let n_values = shape.iter().product();
        self.n_values.borrow_mut().insert(name.to_owned(), n_values);
        Tensor::zeros(shape, DType::F32, &Device::Cpu).map_err(AcceleratorError::compute("zeros"))
    }
}

#[test]
fn parameters_are_as_many_as_published_and_named_alike() {
    // torchvision's tables of weights, and Tianxiaomo/pytorch-YOLOv4's 64.36 million; running
    // statistics are not parameters.
    let published = [
        (
            NetName::Squeezenet,
            1_235_496,
            ["features.3.squeeze.weight", "classifier.1.weight"],
        ),
        (
            NetName::Resnet18,
            11_689_512,
            ["layer1.0.bn1.running_mean", "fc.bias"],
        ),
        (
            NetName::Resnet50,
            25_557_032,
            ["layer2.0.downsample.1.bias", "layer4.2.conv3.weight"],
        ),
        (
            NetName::WideResnet101,
            126_886_696,
            ["layer3.22.bn3.running_var", "layer4.2.conv3.weight"],
        ),
        (
            NetName::MobilenetV3,
            2_542_856,
            ["features.1.block.1.fc1.weight", "classifier.3.bias"],
        ),
        (
            NetName::MobilenetV3Large,
            5_483_032,
            ["features.2.block.2.1.running_var", "classifier.0.bias"],
        ),
        (
            NetName::EfficientnetB0,
            5_288_548,
            ["features.1.0.block.1.fc2.bias", "features.8.1.weight"],
        ),
        (
            NetName::Deeplabv3Resnet50,
            42_004_074,
            ["classifier.0.convs.4.1.weight", "aux_classifier.4.bias"],
        ),
        (
            NetName::Yolov4,
            64_363_101,
            [
                "down5.resblock.module_list.3.1.conv.1.running_var",
                "head.conv18.conv.0.bias",
            ],
        ),
    ];
    for (name, expected, sample) in published {
        let counter = Counter::default();
        Net::build(name, &Scope::root(&counter)).unwrap();
        let found = counter.n_values.into_inner();
        let parameters = found.iter().filter(|(name, _)| !name.contains(".running_"));
        assert_eq!(
            parameters.map(|(_, n)| n).sum::<usize>(),
            expected,
            "{name}"
        );
        assert!(
            sample.iter().all(|it| found.contains_key(*it)),
            "{name}: {:?}",
            found.keys()
        );
    }
    assert_eq!(published.map(|(name, ..)| name), NetName::ALL);
}

#[test]
fn outputs_are_finite_normal_and_of_the_sizes_that_scenarios_give() {
    for name in NetName::ALL {
        let outputs = shared(name).forward(&images(2, 64)).unwrap();
        let info = name.info();
        assert_eq!(outputs.len(), info.outputs.len(), "{name}");
        for (output, expected) in outputs.iter().zip(info.outputs) {
            match expected {
                Output::Vector(n) => assert_eq!(output.dims(), [2, *n as usize], "{name}"),
                Output::Map { channels, stride } => {
                    let side = 64 / *stride as usize;
                    assert_eq!(output.dims(), [2, *channels as usize, side, side], "{name}");
                }
            }
            let scores = values(output);
            // Residual blocks add up, some tenfold a layer; nothing comes near the largest float.
            let sane = |x: &f32| (x.is_normal() && x.abs() < 1e9) || x.to_bits() << 1 == 0;
            assert!(
                scores.iter().all(sane),
                "{name}: {:?}",
                scores.iter().find(|x| !sane(x))
            );
            assert!(
                scores.iter().any(|x| x.is_normal()),
                "{name} answers nothing but zeros"
            );
        }
    }
}

/// What `reference.py` wrote.
#[derive(serde::Deserialize)]
struct Reference {
    seed: u64,
    nets: BTreeMap<String, ReferenceNet>,
}

#[derive(serde::Deserialize)]
struct ReferenceNet {
    inputs: Vec<ReferenceInput>,
}

#[derive(serde::Deserialize)]
struct ReferenceInput {
    /// Height and width, in pixels.
    size: [usize; 2],
    outputs: Vec<ReferenceOutput>,
}

#[derive(serde::Deserialize)]
struct ReferenceOutput {
    shape: Vec<usize>,
    largest: f64,
    sum: f64,
    norm: f64,
    step: usize,
    values: Vec<f64>,
}

/// The images of `reference.py`: every operation on them is exact or rounded once.
fn reference_images(n: usize, [height, width]: [usize; 2]) -> Tensor {
    let values: Vec<f32> = (0..n * 3 * height * width)
        .map(|i| (i * 1103 % 2003) as f32 / 1001.0 - 1.0)
        .collect();
    Tensor::from_vec(values, (n, 3, height, width), &Device::Cpu).unwrap()
}

/// Largest difference to what PyTorch computes in 64-bit floats, over the largest value of an output.
///
/// A sum of `k` products rounds to about `sqrt(k) u` of its size, where `u` is 6e-8; the longest
/// here has `k` of 18,432, so one layer is off by up to 8e-6 and most by 1e-6, and later layers
/// average it out. PyTorch's own 32-bit results are off by up to 3.3e-6 (`error_of_f32` in the
/// file), these by up to 2.2e-6. Small mistakes are off by far more: another epsilon of the
/// normalisation by 1e-2, a hard sigmoid for a sigmoid by 5e-3, a dilation of 35 for 36 by 2e-2, two
/// parts of a concatenation in the other order by 7e-3.
const TOLERANCE: f64 = 1e-5;

#[test]
fn every_net_computes_what_pytorch_does() {
    let reference: Reference = serde_json::from_str(include_str!("reference.json")).unwrap();
    assert_eq!(reference.seed, SEED);
    let names: BTreeSet<_> = NetName::ALL.map(|name| name.as_str()).into();
    assert!(reference.nets.keys().map(|it| &**it).eq(names));
    let mut errors = Vec::new();
    for name in NetName::ALL {
        for input in &reference.nets[name.as_str()].inputs {
            let outputs = shared(name)
                .forward(&reference_images(2, input.size))
                .unwrap();
            assert_eq!(outputs.len(), input.outputs.len(), "{name}");
            for (output, expected) in outputs.iter().zip(&input.outputs) {
                assert_eq!(output.dims(), expected.shape, "{name}");
                let found: Vec<f64> = values(output).into_iter().map(f64::from).collect();
                let samples = found.iter().step_by(expected.step).zip(&expected.values);
                let error = samples.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let n = found.len() as f64;
                let sum: f64 = found.iter().sum();
                let norm = found.iter().map(|x| x * x).sum::<f64>().sqrt();
                let error = error
                    .max((sum - expected.sum).abs() / n)
                    .max((norm - expected.norm).abs() / n.sqrt());
                errors.push((name, input.size, error / expected.largest));
            }
        }
    }
    assert!(
        errors.iter().all(|(.., error)| *error <= TOLERANCE),
        "{errors:?}"
    );
}

#[test]
fn a_seed_gives_the_same_bits_and_another_seed_others() {
    for name in [NetName::Squeezenet, NetName::Resnet18] {
        let input = images(1, 64);
        let first = scores(&shared(name), &input);
        assert_eq!(
            bits(&first),
            bits(&scores(&net(name, SEED), &input)),
            "{name}"
        );
        assert_ne!(
            bits(&first),
            bits(&scores(&net(name, SEED + 1), &input)),
            "{name}"
        );
    }
}

#[test]
fn a_batch_answers_as_its_requests_do_alone() {
    for name in NetName::ALL {
        let net = shared(name);
        let input = images(2, 64);
        let together = net.forward(&input).unwrap();
        let mut both = Vec::new();
        for i in 0..2 {
            let alone = net.forward(&input.i(i..i + 1).unwrap()).unwrap();
            for (together, alone) in together.iter().zip(&alone) {
                let (together, alone) = (values(&together.i(i).unwrap()), values(alone));
                let largest = alone.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
                for (a, b) in together.iter().zip(&alone) {
                    assert!(
                        (a - b).abs() <= 1e-5 * largest,
                        "{name}: {a} together, {b} alone"
                    );
                }
            }
            both.push(alone.iter().map(|it| bits(&values(it))).collect::<Vec<_>>());
        }
        assert_ne!(both[0], both[1], "{name}");
    }
}

#[test]
fn a_file_of_random_tensors_gives_the_net_of_their_seed() {
    let dir = tempfile::tempdir().unwrap();
    for name in [NetName::Squeezenet, NetName::Resnet18] {
        let path = dir.path().join("net.safetensors");
        let tensors = random_tensors(name, SEED).unwrap().into_iter().collect();
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let loaded = Net::load(name, &Weights::Safetensors { path }, &Device::Cpu).unwrap();
        let input = images(1, 64);
        assert_eq!(
            bits(&scores(&loaded, &input)),
            bits(&scores(&shared(name), &input)),
            "{name}"
        );
    }
}

/// What loading SqueezeNet from a file reports, with the folder taken out.
fn failure(change: impl FnOnce(&mut std::collections::HashMap<String, Tensor>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    let mut tensors = random_tensors(NetName::Squeezenet, 1)
        .unwrap()
        .into_iter()
        .collect();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let failed = Net::load(
        NetName::Squeezenet,
        &Weights::Safetensors { path },
        &Device::Cpu,
    );
    failed
        .unwrap_err()
        .to_string()
        .replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn a_file_that_does_not_fit_names_file_and_tensor() {
    let missing = failure(|tensors| drop(tensors.remove("features.3.squeeze.weight")));
    let misshapen = failure(|tensors| {
        let bias = Tensor::zeros(10, DType::F32, &Device::Cpu).unwrap();
        tensors.insert("classifier.1.bias".to_owned(), bias);
    });
    insta::assert_snapshot!(missing, @"net.safetensors: no tensor `features.3.squeeze.weight`");
    insta::assert_snapshot!(
        misshapen,
        @"net.safetensors: tensor `classifier.1.bias` has shape [10], the net's has [1000]"
    );
}

#[test]
fn a_file_that_is_no_safetensors_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    std::fs::write(&path, "no such thing").unwrap();
    let failed = Net::load(
        NetName::Squeezenet,
        &Weights::Safetensors { path },
        &Device::Cpu,
    );
    assert!(
        matches!(failed, Err(AcceleratorError::ReadWeights { .. })),
        "{failed:?}"
    );
}

#[test]
fn folding_equals_normalising_after_the_convolution() {
    use candle_nn::ModuleT as _;

    let source = RandomWeights::new(2, &Device::Cpu);
    let scope = Scope::root(&source);
    let kernel = layers::Kernel::same3(3, 8);
    let folded = layers::Conv::load_normalised(&scope, ("conv", "bn"), kernel).unwrap();
    let part = |name: &str| scope.at("bn").tensor(name, &[8]).unwrap();
    let norm = candle_nn::BatchNorm::new(
        8,
        part("running_mean"),
        part("running_var"),
        part("weight"),
        part("bias"),
        1e-5,
    )
    .unwrap();
    let weight = scope.at("conv").tensor("weight", &[8, 3, 3, 3]).unwrap();

    let input = images(1, 9);
    let apart = norm
        .forward_t(&input.conv2d(&weight, 1, 1, 1, 1).unwrap(), false)
        .unwrap();
    let difference = (folded.linear(&input).unwrap() - apart)
        .unwrap()
        .abs()
        .unwrap();
    let largest: f32 = difference
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap();
    assert!(largest < 1e-5, "differs by {largest}");
}

#[test]
fn names_parse_as_they_print_and_others_are_refused() {
    for name in NetName::ALL {
        assert_eq!(name.to_string().parse::<NetName>().unwrap(), name);
    }
    insta::assert_snapshot!(
        "resnet19".parse::<NetName>().unwrap_err(),
        @"unknown net `resnet19`, allowed: squeezenet1.1, resnet18, resnet50, wide-resnet101, mobilenet-v3, mobilenet-v3-large, efficientnet-b0, deeplabv3-resnet50, yolov4"
    );
}
