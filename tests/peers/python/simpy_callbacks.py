"""SimPy without processes: only its clock and event queue, a callback an event."""

import random
from collections import deque

import simpy
from common import ARRIVAL_RATE, MEAN_SERVICE_TIME, main


class Station:
    """A FIFO single-server station; hands the arrival time of a customer on to `leave`."""

    def __init__(self, env, rng, leave):
        self.env = env
        self.rng = rng
        self.leave = leave
        self.waiting = deque()
        self.busy = False

    def arrive(self, arrived):
        if self.busy:
            self.waiting.append(arrived)
        else:
            self.busy = True
            self.serve(arrived)

    def serve(self, arrived):
        service = self.env.timeout(self.rng.expovariate(1 / MEAN_SERVICE_TIME), arrived)
        service.callbacks.append(self.depart)

    def depart(self, service):
        if self.waiting:
            self.serve(self.waiting.popleft())
        else:
            self.busy = False
        self.leave(service.value)


class Source:
    """Lets `left` customers arrive, one after the other."""

    def __init__(self, env, rng, customers, enter):
        self.env = env
        self.rng = rng
        self.left = customers
        self.enter = enter

    def wait(self):
        self.left -= 1
        arrival = self.env.timeout(self.rng.expovariate(ARRIVAL_RATE))
        arrival.callbacks.append(self.arrive)

    def arrive(self, _arrival):
        self.enter(self.env.now)
        if self.left:
            self.wait()


def build(n_stations, customers, seed):
    rng = random.Random(seed)
    env = simpy.Environment()
    sojourns = []

    def leave(arrived):
        sojourns.append(env.now - arrived)

    for _ in range(n_stations):
        leave = Station(env, rng, leave).arrive
    Source(env, rng, customers, leave).wait()

    def run():
        env.run()
        return sojourns

    return run


main("simpy-callbacks", "simpy", build)
