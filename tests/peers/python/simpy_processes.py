"""SimPy as its documentation shows it: a process a customer, a `Resource` a station."""

import random

import simpy
from common import ARRIVAL_RATE, MEAN_SERVICE_TIME, main


def build(n_stations, customers, seed):
    rng = random.Random(seed)
    env = simpy.Environment()
    stations = [simpy.Resource(env, capacity=1) for _ in range(n_stations)]
    sojourns = []

    def customer():
        arrived = env.now
        for station in stations:
            with station.request() as request:
                yield request
                yield env.timeout(rng.expovariate(1 / MEAN_SERVICE_TIME))
        sojourns.append(env.now - arrived)

    def source():
        for _ in range(customers):
            yield env.timeout(rng.expovariate(ARRIVAL_RATE))
            env.process(customer())

    def run():
        env.run()
        return sojourns

    env.process(source())
    return run


main("simpy-processes", "simpy", build)
