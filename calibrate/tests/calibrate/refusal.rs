//! Data that cannot identify a figure is refused, or the figure says so.

use calibrate::{Calibration, Source, calibrate};
use schema::profile::parameter;
use schema::random::Seed;
use schema::run::{Outcome, Run, SpanName};

use crate::synthetic::{LIGHT, draw, laws, run_of, scenario};

fn run(overrides: &[&str]) -> Run {
    let scenario = scenario(LIGHT, overrides);
    run_of(&scenario, draw(&scenario, &laws(), Seed(0)), &[])
}

fn sources<'a>(run: &'a Run) -> [Source<'a>; 1] {
    [Source {
        name: "runs/a".to_owned(),
        run,
    }]
}

fn warnings(calibration: &Calibration, cost: &str) -> String {
    let fit = calibration.fits.iter().find(|fit| fit.cost == cost);
    fit.expect("the cost was fitted").warnings.join("\n")
}

#[test]
fn a_run_without_requests_that_count_is_refused() {
    let mut run = run(&[]);
    run.trace.retain(|span| span.request.seq() < 20);
    let error = calibrate("test", &sources(&run)).unwrap_err();
    insta::assert_snapshot!(error, @"fit a profile: no span of a request that was completed after the warm-up in runs/a; measure more requests than `run.warmup` leaves out");
    let error = calibrate("test", &[]).unwrap_err();
    insta::assert_snapshot!(error, @"fit a profile: there is no run to fit it to");
}

#[test]
fn fewer_than_three_samples_are_refused() {
    let run = run(&["run.measure.requests=2"]);
    let error = calibrate("test", &sources(&run)).unwrap_err();
    insta::assert_snapshot!(error, @"fit `dispatch` of part `this`: 2 samples in runs/a, at least 3 are needed; measure more requests, or leave the run out");
}

#[test]
fn fewer_than_ten_samples_give_a_warning() {
    let run = run(&["run.measure.requests=9"]);
    let calibration = calibrate("test", &sources(&run)).unwrap();
    insta::assert_snapshot!(warnings(&calibration, "prepare"), @"9 samples: the errors themselves are uncertain; measure more requests");
}

#[test]
fn one_size_gives_a_constant_that_says_so() {
    let calibration = calibrate("test", &sources(&run(&[]))).unwrap();
    // Every reply has 4000 bytes.
    insta::assert_snapshot!(warnings(&calibration, "postprocess"), @"one driver only: the slope cannot be identified, the law is a constant; add runs with other sizes");
    let law = &calibration.profile.parts["this"].costs["postprocess"];
    assert_eq!((law.slope, law.range), (0.0, [4000.0, 4000.0]));
}

#[test]
fn spans_without_core_time_give_no_cost_of_messages() {
    let mut run = run(&[]);
    for span in &mut run.trace {
        span.cpu_ns = 0;
    }
    let calibration = calibrate("test", &sources(&run)).unwrap();
    let costs = &calibration.profile.parts["this"].costs;
    assert!(!costs.contains_key("send/tcp") && costs.contains_key("prepare"));
    insta::assert_snapshot!(calibration.warnings.join("\n"), @r#"
    `receive/tcp` of part `this` is left out: no core time is recorded in 1 of 1 runs; measure where threads' core time can be read
    `send/tcp` of part `this` is left out: no core time is recorded in 1 of 1 runs; measure where threads' core time can be read
    "#);
}

#[test]
fn equal_loads_give_no_contention() {
    let mut run = run(&[]);
    run.manifest.cpu = run_of(&run.scenario, Vec::new(), &[("client edge", 0.3)])
        .manifest
        .cpu;
    let calibration = calibrate("test", &sources(&run)).unwrap();
    let [report] = &calibration.contention[..] else {
        panic!("one part")
    };
    insta::assert_snapshot!(report.notes.join("\n"), @"cannot be identified: the busy share of the other cores differs by 0.00 at most between runs of one work and batch size, at least 0.1 is needed; add a run with the other cores idle and one with them busy");
    let parameters = &calibration.profile.parts["this"].parameters;
    assert!(!parameters.contains_key(parameter::CONTENTION));
}

#[test]
fn a_part_cannot_be_both_host_and_link() {
    let run = run(&["links.0.part=\"this\""]);
    let error = calibrate("test", &sources(&run)).unwrap_err();
    insta::assert_snapshot!(error, @"fit part `this`: it is the part of a link and of a host in runs/a; give one of them another `part`");
}

#[test]
fn a_broken_run_is_used_with_a_warning() {
    let mut run = run(&[]);
    run.manifest.outcome = Outcome::Broken {
        role: "server work".to_owned(),
        how: "killed by signal 9".to_owned(),
    };
    let last = run.trace.iter_mut().rfind(|s| s.name == SpanName::Request);
    last.unwrap().status = schema::run::Status::Failed;
    let calibration = calibrate("test", &sources(&run)).unwrap();
    insta::assert_snapshot!(calibration.warnings.join("\n"), @"runs/a is broken (`server work` killed by signal 9): only the requests completed before are used; measure it again");
    assert_eq!(
        calibration.profile.parts["this"].costs["prepare"].samples,
        299
    );
}

#[test]
fn loaded_runs_serve_where_no_light_one_does() {
    let run = run(&["clients.0.count=2"]);
    let calibration = calibrate("test", &sources(&run)).unwrap();
    insta::assert_snapshot!(warnings(&calibration, "prepare"), @"no run had one request at a time: waiting for cores and contention may be in the samples; add a run with one closed-loop client");
    assert!(
        !calibration.profile.parts["this"]
            .costs
            .contains_key("dispatch")
    );
}

#[test]
fn the_table_names_every_cost_with_units() {
    let calibration = calibrate("test", &sources(&run(&["run.measure.requests=30"]))).unwrap();
    insta::assert_snapshot!(calibration.table(), @r#"
    part loopback
      cost                       base [us]             slope                          driver range             n   (worth)  held out  residual (cv)
      delay/tcp                      39.184 ± 1.585  -                             1 requests                 53        36     21.7%  normal (0.24)
    part this
      cost                       base [us]             slope                          driver range             n   (worth)  held out  residual (cv)
      dispatch                       28.014 ± 1.345  -                             1 requests                 30        30     23.8%  normal (0.26)
      inference/synthetic             0.000 ± 0.000  1.092 ± 0.070 s/s             0.002 s                    30        25     30.4%  gamma (0.32)
      notify                         24.545 ± 1.996  -                             1 requests                 30        23     32.8%  lognormal (0.38)
      postprocess                     7.342 ± 0.315  -                             4000 B                     30        30     21.2%  normal (0.23)
      prepare                        19.962 ± 2.325  314.264 ± 43.982 ns/kB        1024 to 1048576 B          30        30     41.3%  gamma (0.35)
      receive/tcp                    11.781 ± 0.638  194.602 ± 24.041 ns/kB        1024 to 1048576 B          60        60     28.3%  lognormal (0.31)
      send/tcp                       15.507 ± 0.792  101.542 ± 9.665 ns/kB         1024 to 1048576 B          60        59     28.7%  normal (0.27)
    warn: this inference/synthetic: one driver only: base and slope cannot be told apart, the law is in proportion; add runs with other times
    warn: this postprocess: one driver only: the slope cannot be identified, the law is a constant; add runs with other sizes
    "#);
}
