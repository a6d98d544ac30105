//! Nets, laws, kernels and GPUs read back as they were written; laws against a plain reference.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{Driver, PROFILE_FORMAT, Parameter, Part, PartKind, Profile, Residual};
use schema::scenario::{
    BatchClose, BatchFile, CopiesOf, CopyBack, GdrPath, GpuFile, GpuUseFile, HostMemory, HostWait,
    KernelFile, KernelsFile, LaunchFile, MigFile, MpsFile, MpsPriority, Peers, ProfiledFile,
    Scenario, ServeFile, Socket, WorkFile,
};
use schema::units::{Bytes, SimDuration};

use crate::{BASE, parse};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e3..1e3,
        0.0..1e-6,
        select(vec![0.0, 1.0, 0.1, 2.0 / 3.0, 1e18])
    ]
}

fn time() -> impl Strategy<Value = SimDuration> {
    (0u64..10_000_000_000_000).prop_map(SimDuration::from_ps)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    (0u64..1 << 40).prop_map(Bytes)
}

/// Points in ascending order of the driver, at least one.
fn points() -> impl Strategy<Value = Vec<[f64; 2]>> {
    vec((0u32..1000, number()), 1..6).prop_map(|points| {
        // Whole numbers differ by enough for slopes that a test can compare.
        let points: BTreeMap<u32, f64> = points.into_iter().collect();
        points.into_iter().map(|(x, y)| [f64::from(x), y]).collect()
    })
}

fn law() -> impl Strategy<Value = DriverLaw> {
    let affine = [number(), number(), number(), number()];
    prop_oneof![
        affine.prop_map(|[base, base_error, slope, slope_error]| DriverLaw::Affine {
            base,
            base_error,
            slope,
            slope_error,
        }),
        points().prop_map(DriverLaw::Table),
    ]
}

fn kernel() -> impl Strategy<Value = KernelFile> {
    let grid = (1u32.., 1u32..=1024, 0u32..=255);
    let costs = (bytes(), time(), bytes(), of(time()));
    (of(".{0,9}"), grid, costs).prop_map(|(name, grid, costs)| {
        let (blocks, threads, registers) = grid;
        let (shared_memory, time, dram, overhead) = costs;
        KernelFile {
            name,
            blocks,
            threads,
            registers,
            shared_memory,
            time,
            dram,
            overhead,
        }
    })
}

fn residual() -> impl Strategy<Value = Residual> {
    prop_oneof![
        Just(Residual::None),
        (0.0f64..2.0).prop_map(|sd| Residual::Normal { sd }),
        (0.0f64..2.0).prop_map(|sigma| Residual::Lognormal { sigma }),
        (0.1f64..9.0).prop_map(|shape| Residual::Gamma { shape }),
        vec(0.0f64..2.0, 1..5).prop_map(|mut quantiles| {
            quantiles.sort_by(f64::total_cmp);
            Residual::Quantiles(quantiles)
        }),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    [law(), law(), law(), law(), law()].prop_map(
        |[overhead, compute, parallelism, bytes, intensity]| Phase {
            overhead,
            compute,
            parallelism,
            bytes,
            intensity,
        },
    )
}

fn net() -> impl Strategy<Value = GpuNet> {
    let work = prop_oneof![
        vec(phase(), 1..4).prop_map(|phases| (phases, Vec::new())),
        vec(kernel(), 1..4).prop_map(|kernels| (Vec::new(), kernels)),
    ];
    let fit = (
        select(vec![Driver::Requests, Driver::Bytes]),
        [number(), number()],
        any::<u32>(),
        number(),
        ".{0,9}",
    );
    let rest = (residual(), 0.0f64..1e12, any::<u32>(), law());
    (fit, rest, work).prop_map(|(fit, rest, (phases, kernels))| {
        let (per, [a, b], samples, held_out_error, source) = fit;
        let (residual, memory, launches, floor) = rest;
        GpuNet {
            per,
            range: [a.min(b), a.max(b)],
            samples: samples.into(),
            held_out_error,
            source,
            residual,
            memory,
            launches,
            floor,
            phases,
            kernels,
        }
    })
}

/// The GPUs of a host, at least one.
fn gpus() -> impl Strategy<Value = Vec<GpuFile>> {
    let mig = (1u32..9, 1u32..9).prop_map(|(compute, memory)| MigFile { compute, memory });
    let peers = select(vec![Peers::Nvlink, Peers::Pcie]);
    let path = select(vec![
        GdrPath::Switch,
        GdrPath::RootComplex,
        GdrPath::CrossSocket,
    ]);
    let ways = (
        of(peers),
        of(select(vec![Socket::Near, Socket::Far])),
        of(path),
    );
    let gpu = ("[a-z]{1,4}", of(1e-3f64..=2.0), vec(mig, 0..3), ways).prop_map(
        |(part, clock, mig, (peers, socket, gdr_path))| GpuFile {
            part,
            clock,
            mig,
            peers,
            socket,
            gdr_path,
        },
    );
    vec(gpu, 1..4)
}

fn mps() -> impl Strategy<Value = MpsFile> {
    let priority = select(vec![MpsPriority::High, MpsPriority::Normal]);
    (of(0.1f64..=100.0), of(priority)).prop_map(|(percentage, priority)| MpsFile {
        percentage,
        priority,
    })
}

/// How a stage uses some of the devices called `names`, at least one.
fn gpu_use(names: Vec<String>) -> impl Strategy<Value = GpuUseFile> {
    let devices = proptest::sample::subsequence(names.clone(), 1..=names.len()).prop_shuffle();
    let contexts = (of(1u32..64), of(1u32..64), of(mps()), of(-1000i32..=0));
    let ways = (
        of(select(vec![LaunchFile::Kernels, LaunchFile::Graph])),
        of(select(vec![HostMemory::Pinned, HostMemory::Pageable])),
        of(select(vec![CopyBack::Stream, CopyBack::DefaultStream])),
        of(select(vec![HostWait::Block, HostWait::Spin])),
        of(select(vec![CopiesOf::Request, CopiesOf::Batch])),
        of(bytes()),
    );
    (devices, of(".{0,9}"), contexts, ways).prop_map(|(devices, process, contexts, ways)| {
        let (processes, streams, mps, priority) = contexts;
        let (launch, host_memory, d2h, wait, copies, connection_buffer) = ways;
        GpuUseFile {
            devices,
            processes: processes.filter(|_| process.is_none()),
            streams,
            process,
            mps,
            priority,
            launch,
            host_memory,
            d2h,
            wait,
            copies,
            connection_buffer,
        }
    })
}

fn batch() -> impl Strategy<Value = BatchFile> {
    let close = select(vec![BatchClose::AtStart, BatchClose::AtTimeout]);
    let preferred = proptest::collection::btree_set(1u32..40, 0..4);
    (40u32.., time(), preferred, close).prop_map(|(max, delay, preferred, close)| BatchFile {
        max,
        delay,
        preferred: preferred.into_iter().collect(),
        close,
    })
}

/// What a stage serves on the device called `first`, where kernels copy to each of `others` in
/// turn.
fn serve(others: Vec<String>) -> impl Strategy<Value = ServeFile> {
    let profiled = (".{1,9}", bytes(), bytes(), any::<bool>());
    let copies = others
        .into_iter()
        .map(|to| WorkFile::PeerCopy { to, size: Bytes(7) });
    let copies: Vec<WorkFile> = copies.collect();
    let kernels =
        (bytes(), bytes(), vec(kernel(), 1..4)).prop_map(move |(input, output, kernels)| {
            let kernels = kernels.into_iter().map(WorkFile::Kernel);
            ServeFile::Kernels(KernelsFile {
                input,
                output,
                raw: None,
                work: kernels.chain(copies.clone()).collect(),
            })
        });
    prop_oneof![
        profiled.prop_map(
            |(name, input, output, raw)| ServeFile::Profiled(ProfiledFile {
                name,
                input,
                output,
                raw,
            })
        ),
        kernels,
    ]
}

/// The names of the devices that GPUs give.
fn names(gpus: &[GpuFile]) -> Vec<String> {
    let of_gpu = |(index, gpu): (usize, &GpuFile)| match gpu.mig.len() {
        0 => vec![index.to_string()],
        n => (0..n)
            .map(|instance| format!("{index}.{instance}"))
            .collect(),
    };
    gpus.iter().enumerate().flat_map(of_gpu).collect()
}

/// Value at `driver` of the line through two points.
fn on_line([x0, y0]: [f64; 2], [x1, y1]: [f64; 2], driver: f64) -> f64 {
    y0 + (y1 - y0) / (x1 - x0) * (driver - x0)
}

/// What a law means, said without search: between two points, or on the first or last line.
fn reference(law: &DriverLaw, driver: f64) -> f64 {
    let value = match law {
        DriverLaw::Affine { base, slope, .. } => base + slope * driver,
        DriverLaw::Table(points) => match &points[..] {
            [[_, value]] => *value,
            [first, second, ..] if driver <= second[0] => on_line(*first, *second, driver),
            points => {
                let mut lines = points.windows(2);
                let line = lines.rfind(|line| driver > line[0][0]);
                let line = line.expect("the driver is past the first point");
                on_line(line[0], line[1], driver)
            }
        },
    };
    value.max(0.0)
}

proptest! {
    #[test]
    fn a_law_means_what_its_points_say(law in law(), driver in -10.0f64..2000.0) {
        let (found, expected) = (law.at(driver), reference(&law, driver));
        prop_assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{} not {}", found, expected);
    }

    #[test]
    fn a_table_passes_its_points(points in points()) {
        let law = DriverLaw::Table(points.clone());
        // The lines start at the points to the left; rounding is relative to what is added there.
        for [x, y] in points.iter().copied() {
            let largest = points.iter().fold(0.0, |most: f64, [_, y]| most.max(y.abs()));
            prop_assert!((law.at(x) - y.max(0.0)).abs() <= 1e-12 * largest, "at {}", x);
        }
    }

    #[test]
    fn one_point_is_a_constant(value in number(), x in number(), driver in number()) {
        let law = DriverLaw::Table(vec![[x, value]]);
        let expected = value.max(0.0).to_bits();
        prop_assert_eq!(law.at(driver).to_bits(), expected);
        prop_assert_eq!(DriverLaw::constant(value).at(driver).to_bits(), expected);
    }

    #[test]
    fn a_gpu_of_a_profile_reads_back_what_it_wrote(
        nets in vec((".{1,9}", net()), 0..3),
        values in vec((".{1,9}", number(), of((0.0f64..9.0, 0.0f64..9.0))), 0..3),
    ) {
        let parameters = values.into_iter().map(|(name, value, range)| {
            let range = range.map(|(below, above)| [value - below, value + above]);
            let parameter = Parameter {
                value,
                standard_error: 0.1,
                unit: "1".to_owned(),
                range,
                source: "a paper".to_owned(),
            };
            (name, parameter)
        });
        let part = Part {
            kind: PartKind::Gpu,
            parameters: parameters.collect(),
            costs: BTreeMap::new(),
            nets: nets.into_iter().collect(),
        };
        let profile = Profile {
            format: PROFILE_FORMAT,
            name: "test".to_owned(),
            fitted_to: BTreeMap::new(),
            spread: BTreeMap::new(),
            parts: BTreeMap::from([("gpu".to_owned(), part)]),
        };
        let read = Profile::parse("p.toml".as_ref(), profile.to_toml()).unwrap();
        prop_assert_eq!(read, profile);
    }

    #[test]
    fn a_scenario_with_gpus_reads_back_what_it_wrote(
        (gpus, used, serve) in gpus().prop_flat_map(|gpus| {
            let names = names(&gpus);
            let one = used_with_copies(names.clone());
            let many = (gpu_use(names), serve(Vec::new()));
            (Just(gpus), prop_oneof![one, many]).prop_map(|(gpus, (used, serve))| (gpus, used, serve))
        }),
        batch in batch(),
        stream_priority in of(-1000i32..=0),
    ) {
        let mut file = parse(BASE).unwrap().file().clone();
        file.hosts.get_mut("server").unwrap().gpus = gpus;
        file.stages.retain(|name, _| name == "classify");
        let stage = file.stages.get_mut("classify").unwrap();
        stage.gpu = Some(used);
        stage.serve = Some(serve);
        stage.batch = Some(batch);
        file.clients[0].classes[0].stream_priority = stream_priority;
        let read = Scenario::from_file(&file).unwrap();
        prop_assert_eq!(read.file(), &file);
        // So it stands in the manifest of a run.
        let text = serde_json::to_string(&file).unwrap();
        prop_assert_eq!(serde_json::from_str::<schema::scenario::ScenarioFile>(&text).unwrap(), file);
    }
}

/// One device, and work that goes round all the others.
fn used_with_copies(names: Vec<String>) -> BoxedStrategy<(GpuUseFile, ServeFile)> {
    let others = names[1..].to_vec();
    (gpu_use(vec![names[0].clone()]), serve(others)).boxed()
}
