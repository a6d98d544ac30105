//! Cases worked out by hand, to the picosecond. Links carry 1 GB/s where nothing is said, so that a
//! byte takes 1 ns.

use schema::units::{Bytes, SimTime};
use sim::fabric::{Fabric, LinkId};

use crate::fixture::{Start, chain, gb, links, ps, rate, run};

fn start(at_ns: u64, path: &[usize], bytes: u64) -> Start {
    Start {
        at: ps(1_000 * at_ns),
        path: links(path),
        bytes: Bytes(bytes),
        cap: None,
    }
}

fn ns(ends: &[SimTime]) -> Vec<u64> {
    ends.iter().map(|end| end.as_ns()).collect()
}

#[test]
fn alone_a_flow_takes_the_serialization_delay_of_its_slowest_link() {
    let rates = [gb(3), rate(999_999_937), gb(2)];
    let graph = chain(&rates);
    for bytes in [0, 1, 7, 1_000_003, 123_456_789_012] {
        for path in [&[0][..], &[1], &[2], &[0, 1, 2], &[0, 2]] {
            let slowest = graph.slowest(&links(path)).unwrap();
            let (ends, _) = run(Fabric::new(&graph), &[start(7, path, bytes)]);
            let expected = ps(7_000) + slowest.serialization_delay(Bytes(bytes));
            assert_eq!(ends, [expected], "{bytes} bytes over {path:?}");
        }
    }
}

#[test]
fn flows_one_after_the_other_are_each_alone() {
    let graph = chain(&[rate(999_999_937)]);
    let delay = rate(999_999_937).serialization_delay(Bytes(1_000));
    let first = start(0, &[0], 1_000);
    let second = Start {
        at: first.at + delay,
        ..first.clone()
    };
    let (ends, _) = run(Fabric::new(&graph), &[first, second]);
    assert_eq!(ends, [ps(0) + delay, ps(0) + delay + delay]);
}

#[test]
fn two_on_a_link_halve_it() {
    // The second comes when the first has 500 left: both have half, the first ends at 1,500, when
    // the second has 500 left, and the whole link.
    let graph = chain(&[gb(1)]);
    let (ends, _) = run(
        Fabric::new(&graph),
        &[start(0, &[0], 1_000), start(500, &[0], 1_000)],
    );
    assert_eq!(ns(&ends), [1_500, 2_000]);
}

/// The parking lot: a long flow over all of `n` links, and a short one over each.
fn parking_lot(n: usize) -> Vec<Vec<usize>> {
    let mut paths = vec![(0..n).collect::<Vec<_>>()];
    paths.extend((0..n).map(|link| vec![link]));
    paths
}

fn assert_rates(rates: &[u64], paths: &[Vec<usize>], expected: &[f64]) {
    let rates: Vec<_> = rates.iter().map(|r| rate(*r)).collect();
    let mut fabric = Fabric::new(&chain(&rates));
    let flows: Vec<_> = paths
        .iter()
        .map(|path| fabric.start(ps(0), &links(path), Bytes(1 << 20), None, ()))
        .collect();
    fabric.settle(ps(0));
    let found: Vec<f64> = flows
        .iter()
        .map(|flow| fabric.rate(*flow).expect("it is under way"))
        .collect();
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4;
    assert!(
        found.iter().zip(expected).all(close),
        "{found:?}, not {expected:?}"
    );
}

#[test]
fn in_a_parking_lot_all_have_half() {
    assert_rates(&[900; 3], &parking_lot(3), &[450.0; 4]);
}

#[test]
fn in_a_parking_lot_with_a_narrow_link_the_long_flow_has_half_of_that() {
    // Bertsekas and Gallager 1992, section 6.5.2: the narrow link first, then what is left.
    assert_rates(
        &[900, 300, 900],
        &parking_lot(3),
        &[150.0, 750.0, 150.0, 750.0],
    );
}

#[test]
fn what_a_crowd_leaves_goes_to_the_others() {
    // Link 0: flows 0, 1; link 1: flows 0, 1, 2, 3; link 2: flows 3, 4; of 1,200 each.
    // Link 1 gives 300 to each of its four; 600 are left on link 0, which nobody asks for; flow 4
    // has 900.
    let paths = [vec![0, 1], vec![0, 1], vec![1], vec![1, 2], vec![2]];
    assert_rates(&[1_200; 3], &paths, &[300.0, 300.0, 300.0, 300.0, 900.0]);
}

#[test]
fn a_chain_of_bottlenecks_shifts_when_its_first_flow_ends() {
    // Flow 0 shares link 0 with flow 1, flow 1 link 1 with flow 2, flow 2 link 2 with flow 3: where a
    // link is wider than the one before, the next flow has what its neighbour leaves.
    let paths = [vec![0], vec![0, 1], vec![1, 2], vec![2]];
    assert_rates(&[600, 1_000, 1_000], &paths, &[300.0, 300.0, 500.0, 500.0]);
    assert_rates(&[600, 700, 1_000], &paths, &[300.0, 300.0, 400.0, 600.0]);
    assert_rates(&[600, 700, 1_000], &paths[1..], &[350.0, 350.0, 650.0]);
}

#[test]
fn a_cap_holds_and_leaves_the_rest() {
    let mut fabric = Fabric::new(&chain(&[gb(1)]));
    let path = links(&[0]);
    let capped = fabric.start(ps(0), &path, Bytes(1_000), Some(rate(250_000_000)), 'a');
    let free = fabric.start(ps(0), &path, Bytes(1_500), None, 'b');
    fabric.settle(ps(0));
    assert_eq!(fabric.rate(capped), Some(250e6));
    assert_eq!(fabric.rate(free), Some(750e6));
    // 'b' ends at 2,000 ns; 'a' is held to its cap, and ends at 4,000.
    assert_eq!(fabric.next(), Some(ps(2_000_000)));
    fabric.settle(ps(2_000_000));
    assert_eq!(fabric.pop_done().map(|done| done.token), Some('b'));
    assert_eq!(fabric.rate(free), None);
    assert_eq!(fabric.next(), Some(ps(4_000_000)));
}

#[test]
fn a_degraded_link_slows_what_is_on_it_from_then_on() {
    let mut fabric = Fabric::new(&chain(&[gb(1)]));
    let [link] = links(&[0])[..] else { panic!() };
    fabric.start(ps(0), &[link], Bytes(1_000), None, ());
    fabric.settle(ps(0));
    fabric.set_rate(ps(500_000), link, rate(100_000_000));
    fabric.settle(ps(500_000));
    assert_eq!(fabric.next(), Some(ps(5_500_000)));
    fabric.set_rate(ps(1_500_000), link, gb(1));
    fabric.settle(ps(1_500_000));
    assert_eq!(fabric.next(), Some(ps(1_900_000)));
}

#[test]
fn a_cancelled_flow_says_what_is_left_and_leaves_its_share() {
    let mut fabric = Fabric::new(&chain(&[gb(1)]));
    let path = links(&[0]);
    let first = fabric.start(ps(0), &path, Bytes(1_000), None, 1);
    fabric.start(ps(0), &path, Bytes(1_000), None, 2);
    fabric.settle(ps(0));
    assert_eq!(fabric.cancel(ps(1_000_000), first), Some(Bytes(500)));
    assert_eq!(fabric.cancel(ps(1_000_000), first), None);
    fabric.settle(ps(1_000_000));
    assert_eq!((fabric.n_flows(), fabric.next()), (1, Some(ps(1_500_000))));
}

#[test]
fn flows_that_end_together_end_in_the_order_in_which_they_started() {
    let graph = chain(&[gb(1), gb(1)]);
    let starts: Vec<Start> = (0..6).map(|n| start(0, &[n % 2], 100)).collect();
    let (ends, order) = run(Fabric::new(&graph), &starts);
    assert_eq!(ns(&ends), [300; 6]);
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn without_links_or_bytes_a_flow_ends_at_once() {
    let graph = chain(&[gb(1)]);
    let starts = [start(5, &[], 100), start(5, &[0], 0), start(5, &[0], 100)];
    let (ends, order) = run(Fabric::new(&graph), &starts);
    assert_eq!(ns(&ends), [5, 5, 105]);
    assert_eq!(order, [0, 1, 2]);
    let capped = Start {
        cap: Some(rate(1_000_000)),
        ..start(0, &[], 1)
    };
    assert_eq!(ns(&run(Fabric::new(&graph), &[capped]).0), [1_000]);
}

#[test]
#[should_panic(expected = "a flow ends at 1000 ps, before 1001 ps")]
fn time_does_not_pass_an_end() {
    let mut fabric = Fabric::new(&chain(&[gb(1)]));
    fabric.start(ps(0), &links(&[0]), Bytes(1), None, ());
    fabric.settle(ps(1_001));
}

#[test]
#[should_panic(expected = "a path takes each link once")]
fn a_path_takes_a_link_once() {
    let link: LinkId = links(&[0])[0];
    Fabric::new(&chain(&[gb(1)])).start(ps(0), &[link, link], Bytes(1), None, ());
}
