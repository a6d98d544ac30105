//! What a user reads when a part of kind `gpu` is wrong in a profile.

use std::path::Path;

use insta::assert_snapshot;
use schema::profile::Profile;

const PROFILE: &str = r#"format = 1
name = "p"

[parts.cpu]
kind = "host"

[parts.a100]
kind = "gpu"

[parts.a100.parameters.sms]
value = 108
standard-error = 0
unit = "1"
range = [108, 108]
source = "data sheet"

[parts.a100.nets.yolo]
per = "requests"
range = [1, 64]
samples = 0
held-out-error = 0.1
source = "derived"
launches = 80

[[parts.a100.nets.yolo.phases]]
compute = { affine = { base = 1e-3, slope = 2e-4 } }
bytes = { table = [[1, 2e6], [8, 4e6]] }

[parts.a100.nets.chain]
per = "bytes"
range = [1, 1e6]
samples = 12
held-out-error = 0.1
source = "runs"

[[parts.a100.nets.chain.kernels]]
blocks = 64
threads = 256
time = "10 us"
"#;

fn parse(text: String) -> Result<Profile, String> {
    Profile::parse(Path::new("p.toml"), text).map_err(|error| error.to_string())
}

/// The message for the profile with `from` replaced by `to`.
fn message(from: &str, to: &str) -> String {
    assert!(PROFILE.contains(from), "{from}");
    parse(PROFILE.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn the_base_is_valid_and_reads_back() {
    let profile = parse(PROFILE.to_owned()).unwrap();
    assert_eq!(parse(profile.to_toml()), Ok(profile));
}

#[test]
fn ranges_of_parameters() {
    assert_snapshot!(message("[108, 108]", "[109, 120]"), @"p.toml:14: `parts.a100.parameters.sms.range`: must hold the value, 108; found 109 to 120");
    assert_snapshot!(message("[108, 108]", "[120, 100]"), @"p.toml:14: `parts.a100.parameters.sms.range`: must be two finite numbers, the smaller first; found 120 and 100");
    assert_snapshot!(message("[108, 108]", "[100, inf]"), @"p.toml:14: `parts.a100.parameters.sms.range`: must be two finite numbers, the smaller first; found 100 and inf");
    assert_snapshot!(message("[108, 108]", "[100, nan]"), @"p.toml:14: `parts.a100.parameters.sms.range`: must be two finite numbers, the smaller first; found 100 and NaN");
    assert_snapshot!(message("value = 108", "value = nan"), @"p.toml:14: `parts.a100.parameters.sms.range`: must hold the value, NaN; found 108 to 108");
    assert_snapshot!(message("[108, 108]", "[108]"), @"p.toml:14: `parts.a100.parameters.sms.range`: invalid length 1, expected an array of length 2");
}

#[test]
fn nets_of_gpus() {
    assert_snapshot!(message("kind = \"gpu\"", "kind = \"host\""), @"p.toml:17: `parts.a100.nets`: only a part of kind `gpu` has nets, found `host`");
    assert_snapshot!(message("kind = \"gpu\"", "kind = \"gup\""), @"p.toml:8: `parts.a100.kind`: unknown value `gup`, did you mean `gpu`? (allowed: host, link, gpu, nic)");
    assert_snapshot!(message("range = [1, 64]", "range = [64, 1]"), @"p.toml:19: `parts.a100.nets.yolo.range`: must be two finite numbers, the smaller first; found 64 and 1");
    assert_snapshot!(message("per = \"requests\"", "per = \"seconds\""), @"p.toml:18: `parts.a100.nets.yolo.per`: must be `requests` or `bytes`, found `seconds`");
    assert_snapshot!(message("per = \"requests\"", "per = \"kernels\""), @"p.toml:18: `parts.a100.nets.yolo.per`: must be `requests` or `bytes`, found `kernels`");
    assert_snapshot!(message("launches = 80", "memory = -1"), @"p.toml:23: `parts.a100.nets.yolo.memory`: must be a number of bytes from 0 up, found -1");
    assert_snapshot!(message("launches = 80", "residual = { gamma = { shape = 0 } }"), @"p.toml:23: `parts.a100.nets.yolo.residual`: a residual's shape must be more than 0");
    assert_snapshot!(message("launches = 80", "floor = { affine = { base = inf } }"), @"p.toml:23: `parts.a100.nets.yolo.floor`: base, slope and their errors must be finite");
    assert_snapshot!(message("launches = 80", "launch = 80"), @"p.toml:23: `parts.a100.nets.yolo.launch`: unknown key `launch`, did you mean `launches`? (allowed: per, range, samples, held-out-error, source, residual, memory, launches, floor, phases, kernels)");
}

#[test]
fn phases_and_kernels_of_nets() {
    let (start, end) = (
        PROFILE.find("[[").unwrap(),
        PROFILE.find("[parts.a100.nets.chain]").unwrap(),
    );
    assert_snapshot!(message(&PROFILE[start..end], ""), @"p.toml:17: `parts.a100.nets.yolo.phases`: a net must have either phases or kernels, found neither");
    assert_snapshot!(message("launches = 80", "kernels = [{ blocks = 1, threads = 1, time = \"1 us\" }]"), @"p.toml:25: `parts.a100.nets.yolo.phases`: a net must have either phases or kernels, found both");
    assert_snapshot!(message("base = 1e-3", "base = nan"), @"p.toml:26: `parts.a100.nets.yolo.phases.0.compute`: base, slope and their errors must be finite");
    assert_snapshot!(message("[[1, 2e6], [8, 4e6]]", "[]"), @"p.toml:27: `parts.a100.nets.yolo.phases.0.bytes`: a table must have at least one point, all finite, in ascending order of the driver");
    assert_snapshot!(message("[[1, 2e6], [8, 4e6]]", "[[8, 2e6], [1, 4e6]]"), @"p.toml:27: `parts.a100.nets.yolo.phases.0.bytes`: a table must have at least one point, all finite, in ascending order of the driver");
    assert_snapshot!(message("[[1, 2e6], [8, 4e6]]", "[[1, 2e6], [1, 4e6]]"), @"p.toml:27: `parts.a100.nets.yolo.phases.0.bytes`: a table must have at least one point, all finite, in ascending order of the driver");
    assert_snapshot!(message("[[1, 2e6], [8, 4e6]]", "[[1, 2e6], [8, inf]]"), @"p.toml:27: `parts.a100.nets.yolo.phases.0.bytes`: a table must have at least one point, all finite, in ascending order of the driver");
    assert_snapshot!(message("bytes = { table", "bites = { table"), @"p.toml:27: `parts.a100.nets.yolo.phases.0.bites`: unknown key `bites`, did you mean `bytes`? (allowed: overhead, compute, parallelism, bytes, intensity)");
    assert_snapshot!(message("{ table", "{ points"), @"p.toml:27: `parts.a100.nets.yolo.phases.0.bytes`: unknown value `points` (allowed: affine, table)");
    assert_snapshot!(message("blocks = 64", "blocks = 0"), @"p.toml:37: `parts.a100.nets.chain.kernels.0.blocks`: must be at least 1, found 0");
    assert_snapshot!(message("threads = 256", "threads = 2048"), @"p.toml:38: `parts.a100.nets.chain.kernels.0.threads`: must be from 1 to 1024, found 2048");
    assert_snapshot!(message("threads = 256", "threads = 256\nregisters = 300"), @"p.toml:39: `parts.a100.nets.chain.kernels.0.registers`: must be at most 255, found 300");
}
