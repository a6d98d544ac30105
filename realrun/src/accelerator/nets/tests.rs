//! Tests that hold for every net.

use std::sync::OnceLock;

use candle_core::{DType, IndexOp as _};

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

fn scores(net: &Net, input: &Tensor) -> Vec<f32> {
    net.forward(input)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn parameters_are_as_many_as_torchvision_publishes_and_named_alike() {
    // torchvision's tables of weights; running statistics are not parameters.
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
    ];
    for (name, expected, sample) in published {
        let tensors = random_tensors(name, SEED).unwrap();
        let found: usize = tensors
            .iter()
            .filter(|(name, _)| !name.contains(".running_"))
            .map(|(_, tensor)| tensor.elem_count())
            .sum();
        assert_eq!(found, expected, "{name}");
        assert!(
            sample.iter().all(|it| tensors.contains_key(*it)),
            "{name}: {:?}",
            tensors.keys()
        );
    }
}

#[test]
fn scores_are_finite_normal_and_of_the_right_shape() {
    for name in NetName::ALL {
        let output = shared(name).forward(&images(2, 64)).unwrap();
        assert_eq!(output.dims(), [2, N_CLASSES], "{name}");
        let scores: Vec<f32> = output.flatten_all().unwrap().to_vec1().unwrap();
        let sane = |x: &f32| (x.is_normal() && x.abs() < 1e6) || x.to_bits() << 1 == 0;
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
        let together = scores(&net, &input);
        let alone: Vec<f32> = (0..2)
            .flat_map(|i| scores(&net, &input.i(i..i + 1).unwrap()))
            .collect();
        let largest = alone.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        for (a, b) in together.iter().zip(&alone) {
            assert!(
                (a - b).abs() <= 1e-5 * largest,
                "{name}: {a} together, {b} alone"
            );
        }
        assert_ne!(
            bits(&alone[..N_CLASSES]),
            bits(&alone[N_CLASSES..]),
            "{name}"
        );
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
        @"unknown net `resnet19`, allowed: squeezenet1.1, resnet18, resnet50"
    );
}
