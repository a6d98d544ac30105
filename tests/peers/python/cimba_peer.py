"""Cimba, a C engine, by way of its Python package, which compiles the processes with Numba.

As in Cimba's own M/M/1 benchmark, a process a station takes arrival times from a `Store`.
"""

import cimba as cb
from cimba import inputs
from common import ARRIVAL_RATE, BATCHES, MEAN_SERVICE_TIME, main


class Network(cb.Model):
    """Lets customers arrive at the first station and records batch means of who leaves the last."""

    customers: cb.Param[int]
    batch_size: cb.Param[int]
    interarrival: cb.Input[float] = inputs.dist.exponential(mean=1 / ARRIVAL_RATE)
    first: cb.Store[float]
    first_service: cb.Input[float] = inputs.dist.exponential(mean=MEAN_SERVICE_TIME)
    in_batch: int = 0
    sum_of_batch: float = 0.0
    batch_means: cb.Dataset = cb.Dataset()

    @cb.process
    def source(self):
        for _ in range(self.customers):
            cb.hold(self.interarrival.next())
            self.first.put(cb.now())

    @cb.function
    def leave(self, arrived: float) -> None:
        self.sum_of_batch += cb.now() - arrived
        self.in_batch += 1
        if self.in_batch == self.batch_size:
            self.batch_means.record(self.sum_of_batch / self.batch_size)
            self.sum_of_batch = 0.0
            self.in_batch = 0


class Mm1(Network):
    @cb.process
    def only_station(self):
        while True:
            arrived = self.first.get()
            cb.hold(self.first_service.next())
            self.leave(arrived)


class Tandem(Network):
    second: cb.Store[float]
    second_service: cb.Input[float] = inputs.dist.exponential(mean=MEAN_SERVICE_TIME)
    third: cb.Store[float]
    third_service: cb.Input[float] = inputs.dist.exponential(mean=MEAN_SERVICE_TIME)

    @cb.process
    def first_station(self):
        while True:
            arrived = self.first.get()
            cb.hold(self.first_service.next())
            self.second.put(arrived)

    @cb.process
    def second_station(self):
        while True:
            arrived = self.second.get()
            cb.hold(self.second_service.next())
            self.third.put(arrived)

    @cb.process
    def third_station(self):
        while True:
            arrived = self.third.get()
            cb.hold(self.third_service.next())
            self.leave(arrived)


def build(n_stations, customers, seed):
    def experiment(count):
        model = {1: Mm1, 3: Tandem}[n_stations]()
        model.customers = count
        model.batch_size = count // BATCHES
        model.batch_means.capture()
        return model, cb.Experiment(model, seed=seed)

    experiment(BATCHES)[1].run(workers=1)  # compiles the model; the next run finds it compiled
    model, measured = experiment(customers)
    return lambda: (model, measured.run(workers=1))


def means(outcome, _customers):
    model, results = outcome
    assert not results.failed.any(), results.reasons
    _times, values = results[model].batch_means.trial(0, 0)
    return values.tolist()


main("cimba", "cimba", build, means)
