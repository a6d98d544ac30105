//! Laws and the nets of profiles made of them say the same.

use std::path::Path;

use calibrate::gpu::held_out::Errors;
use calibrate::gpu::interference::Intensity;
use calibrate::gpu::parts::PUBLIC;
use calibrate::gpu::share::ShareLaw;
use calibrate::gpu::tokens::bandwidth_share;
use schema::gpu::GpuNet;
use schema::profile::Profile;

use crate::recovery::{DECODE, PREFILL, RESNET, SHARES, alone};

/// Bytes per second.
const BANDWIDTH: f64 = 1.5e12;

/// What the engine makes of a net that is alone on the GPU.
fn time(net: &GpuNet, batch: f64, share: f64) -> f64 {
    let phases = net.phases.iter().map(|phase| {
        let width = share.min(phase.parallelism.at(batch).min(1.0));
        let compute = phase.compute.at(batch) / width;
        let bytes = phase.bytes.at(batch) / (BANDWIDTH * bandwidth_share(share));
        phase.overhead.at(batch) + compute.max(bytes)
    });
    phases.sum::<f64>().max(net.floor.at(batch))
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
}

#[test]
fn a_net_takes_what_its_law_says() {
    let batches: Vec<f64> = (1..=32).map(f64::from).collect();
    let fitted = ShareLaw::fit(&alone(&RESNET, &batches, &SHARES, 0)).unwrap();
    let intensity = Intensity {
        most: 0.2,
        half: 2.0,
    };
    let errors = Errors::of(&[(1.0, 1.0)]);
    let net = fitted.net(Some(&intensity), &errors, "test");
    for batch in [1.0, 2.0, 7.0, 32.0] {
        close(net.phases[1].intensity.at(batch), intensity.at(batch));
        for share in SHARES {
            close(time(&net, batch, share), fitted.law.expected(batch, share));
        }
    }
}

#[test]
fn prefill_and_decode_take_what_their_laws_say() {
    let errors = Errors::of(&[(1.0, 1.0)]);
    for length in [32.0, 512.0] {
        let prefill = PREFILL.net(length, 2048.0, 100, &errors);
        let decode = DECODE.net(length, BANDWIDTH, 2048.0, 100, &errors);
        for batch in [1.0, 16.0, 64.0, 65.0, 100.0, 2048.0] {
            for share in SHARES {
                close(
                    time(&prefill, batch, share),
                    PREFILL.expected(batch, length, share),
                );
                close(
                    time(&decode, batch, share),
                    DECODE.expected(batch, length, share),
                );
            }
        }
    }
}

#[test]
fn bandwidth_is_nine_tenths_at_its_occupancy() {
    close(bandwidth_share(0.6), 0.9);
    close(bandwidth_share(1.0), 1.0);
}

#[test]
fn every_public_part_reads_back_and_gives_its_sources() {
    for (name, make) in PUBLIC {
        let profile = make().unwrap();
        let read = Profile::parse(Path::new("p.toml"), profile.to_toml()).unwrap();
        assert_eq!((&read, name), (&profile, profile.name.as_str()));
        for part in profile.parts.values() {
            let figures = part.parameters.values().map(|figure| &figure.source);
            let nets = part.nets.values().map(|net| &net.source);
            assert!(figures.chain(nets).all(|source| !source.is_empty()));
        }
    }
}
