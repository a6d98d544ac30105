"""Runs the engine and its peers in turn, several rounds, and prints what README.md describes."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ENGINE = ["--quiet", "--release", "-p", "tandem-sim", "--example", "engine_rate"]
WORKS = ["mm1", "tandem"]

# Customers a run: a multiple of 20, the batches.
PYTHON_PEERS = {
    "simpy_processes": 200_000,
    "simpy_callbacks": 200_000,
    "ciw_peer": 100_000,
    "salabim_peer": 40_000,
    "cimba_peer": 1_000_000,
}
RUST_PEERS = {"nexosim_peer": 1_000_000, "simcore_peer": 1_000_000}
# The same in every round: rounds differ in wall time only.
SEED = 0

# Units of time: 1 / (1 - 0.8) at a station; by Burke's theorem each of the three in series is M/M/1.
THEORY = {"mm1": 5.0, "tandem": 15.0}
# Student's t with 18 degrees of freedom at 99.95%: 19 batches, two-sided 99.9%.
T_QUANTILE = 3.922
# An interval wider than this part of the mean to either side would agree with anything.
MAX_RELATIVE_HALF_WIDTH = 0.25
# A spread of rates over the rounds beyond this part of the median draws a warning.
LARGE_SPREAD = 0.15

HEAD = [
    "peer",
    "version",
    "work",
    "customers",
    "events/s",
    "spread",
    "Tandem's",
    "sojourn",
    "theory",
]


def main():
    options = parse_options()
    if not options.without_engine:
        build_engine()
    pin_to_one_core()
    rounds = [run_round(options, i + 1) for i in range(options.rounds)]

    engine = None if options.without_engine else engine_medians([r["engine"] for r in rounds])
    peers = [summary(runs, engine) for runs in zip(*(r["peers"] for r in rounds))]
    report = {
        "rounds": options.rounds,
        "processor": processor(),
        "python": platform.python_version(),
        "engine": engine,
        "peers": peers,
    }
    print(json.dumps(report, indent=2) if options.json else table(report))
    warn_of_spread(report)
    wrong = [f"{p['peer']} {p['work']}: {p['error']}" for p in peers if p["error"]]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def parse_options():
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="median over as many (default: 3)")
    parser.add_argument("--without-engine", action="store_true", help="run the peers only")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rust-peers", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def pin_to_one_core():
    """This process and all it starts, where the system has a call for it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run_round(options, number):
    print(f"round {number} of {options.rounds}", file=sys.stderr)
    peers = []
    for work in WORKS:
        for name, customers in PYTHON_PEERS.items():
            script = HERE / "python" / f"{name}.py"
            peers.append(run_peer([sys.executable, script], name, work, customers))
        for name, customers in RUST_PEERS.items():
            peers.append(run_peer([options.rust_peers / name], name, work, customers))
    return {"engine": None if options.without_engine else run_engine(), "peers": peers}


def run_peer(command, name, work, customers):
    """The record of one run; of one that failed, a record that says so."""
    print(f"  {work}: {name}, {customers:,} customers", file=sys.stderr)
    arguments = [work, str(customers), str(SEED)]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        return {"peer": name, "work": work, "failed": f"exit status {done.returncode}"}
    return json.loads(done.stdout)


def build_engine():
    done = subprocess.run(["cargo", "build", *ENGINE], check=False, cwd=REPOSITORY)
    if done.returncode != 0:
        engine_failed()


def run_engine():
    print("  engine_rate", file=sys.stderr)
    command = ["cargo", "run", *ENGINE]
    done = subprocess.run(command, check=False, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        engine_failed()
    return json.loads(done.stdout)


def engine_failed():
    sys.exit("error: engine_rate failed; --without-engine runs the peers only")


def engine_medians(runs):
    """By work: the engine's rate and that of the same work written by hand, in events a second."""
    keys = ["events_per_s", "handwritten_events_per_s"]
    return {work: {key: rate([run[work][key] for run in runs]) for key in keys} for work in WORKS}


def rate(samples):
    """The median of some rates, and from lowest to highest as a part of it."""
    median = statistics.median(samples)
    spread = (max(samples) - min(samples)) / median
    return {"median": median, "spread": spread, "samples": samples}


def summary(runs, engine):
    """All rounds of one peer at one work."""
    first = runs[0]
    failures = [run["failed"] for run in runs if "failed" in run]
    if failures:
        return {"peer": first["peer"], "work": first["work"], "error": failures[0]}
    work = first["work"]
    events_per_s = rate([run["events"] / run["seconds"] for run in runs])
    mean, half_width = sojourn_interval(first["batch_means"])
    return {
        "peer": first["peer"],
        "version": first["version"],
        "work": work,
        "customers": first["customers"],
        "events": first["events"],
        "events_per_s": events_per_s,
        "engine_over_peer": engine
        and engine[work]["events_per_s"]["median"] / events_per_s["median"],
        "mean_sojourn": first["mean_sojourn"],
        "mean_sojourn_without_transient": mean,
        "half_width": half_width,
        "error": disagreement(runs, mean, half_width, THEORY[work]),
    }


def sojourn_interval(batch_means):
    """Mean and half-width at 99.9% by batch means; the first batch, the transient, is left out."""
    kept = batch_means[1:]
    half_width = T_QUANTILE * statistics.stdev(kept) / len(kept) ** 0.5
    return statistics.mean(kept), half_width


def disagreement(runs, mean, half_width, theory):
    """What is wrong with the sojourn times of a peer, `None` if nothing is."""
    if any(run["batch_means"] != runs[0]["batch_means"] for run in runs):
        return "rounds of one seed differ in their sojourn times"
    if abs(mean - theory) > half_width:
        return f"mean sojourn time {mean:.3f} ± {half_width:.3f}, in theory {theory}"
    if half_width > MAX_RELATIVE_HALF_WIDTH * theory:
        return f"the interval of ± {half_width:.3f} around {mean:.3f} is too wide to be a test"
    return None


def warn_of_spread(report):
    """Says so if rates differ too much over the rounds to be compared."""
    rates = [peer["events_per_s"] for peer in report["peers"] if "events_per_s" in peer]
    for of_work in (report["engine"] or {}).values():
        rates += of_work.values()
    largest = max((of["spread"] for of in rates), default=0.0)
    if largest > LARGE_SPREAD:
        print(
            f"warning: rates spread by up to {100 * largest:.0f}% over the rounds; "
            "is the machine busy with other work? Repeat on an idle one, or with more --rounds",
            file=sys.stderr,
        )


def processor():
    """The name of the processor, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(report):
    rows = [HEAD]
    for work in WORKS:
        rows += engine_rows(report["engine"], work)
        rows += [peer_row(peer) for peer in report["peers"] if peer["work"] == work]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.rjust(width) if 3 <= i <= 6 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *legend(report)])


def engine_rows(engine, work):
    if engine is None:
        return []
    own = engine[work]["events_per_s"]
    by_hand = engine[work]["handwritten_events_per_s"]
    names = {"Tandem": own, "written by hand": by_hand}
    return [
        [name, "", work, "", *rate_cells(of, own["median"] / of["median"]), "", ""]
        for name, of in names.items()
    ]


def peer_row(peer):
    if "version" not in peer:
        return [peer["peer"], "", peer["work"], "", "failed", "", "", "", peer["error"]]
    return [
        peer["peer"],
        peer["version"],
        peer["work"],
        f"{peer['customers']:,}",
        *rate_cells(peer["events_per_s"], peer["engine_over_peer"]),
        f"{peer['mean_sojourn_without_transient']:.2f} ± {peer['half_width']:.2f}",
        "disagrees" if peer["error"] else "agrees",
    ]


def rate_cells(rate, engine_over_it):
    ratio = "" if engine_over_it is None else f"{engine_over_it:.2f} x"
    return [f"{rate['median']:,.0f}", f"{100 * rate['spread']:.0f}%", ratio]


def legend(report):
    expected = " and ".join(f"{mean:g} for {work}" for work, mean in THEORY.items())
    return [
        f"On one core of {report['processor']}, Python {report['python']}.",
        f"events/s: median of {report['rounds']} rounds; spread: highest less lowest, part of it.",
        "Tandem's: its rate over the row's.",
        "sojourn: mean time in the system and its 99.9% interval, in mean service times.",
        f"theory: {expected}.",
    ]


if __name__ == "__main__":
    main()
