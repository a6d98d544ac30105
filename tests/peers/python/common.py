"""What the Python peers share: the work, the command line and the record."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

ARRIVAL_RATE = 0.8  # customers a unit of time
MEAN_SERVICE_TIME = 1.0  # units of time, at every station
STATIONS = {"mm1": 1, "tandem": 3}
BATCHES = 20

# Takes the number of stations, the number of customers and the seed, builds the model and returns
# what runs it, which alone is timed. Its result goes to the peer's `batch_means`.
Build = Callable[[int, int, int], Callable[[], object]]


def batch_means(sojourns: list[float], customers: int) -> list[float]:
    """Means over equal batches of sojourn times, which are in the order of departure."""
    assert len(sojourns) == customers, f"{len(sojourns)} of {customers} customers departed"
    size = customers // BATCHES
    return [sum(sojourns[i : i + size]) / size for i in range(0, customers, size)]


def main(peer: str, package: str, build: Build, batch_means: Callable = batch_means):
    """Measures one run and prints its record: `<peer> <work> <customers> <seed>`."""
    work, customers, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    assert customers % BATCHES == 0, f"{customers} is no multiple of {BATCHES}"
    stations = STATIONS[work]
    run = build(stations, customers, seed)

    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start

    means = batch_means(result, customers)
    assert len(means) == BATCHES, f"{len(means)} of {BATCHES} batches are complete"
    print(
        json.dumps(
            {
                "peer": peer,
                "version": version(package),
                "work": work,
                "customers": customers,
                "events": customers * (1 + stations),
                "seconds": seconds,
                "mean_sojourn": sum(means) / BATCHES,
                "batch_means": means,
            }
        )
    )
