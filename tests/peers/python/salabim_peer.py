"""salabim in its default, yieldless mode: a component a customer, a `Resource` a station."""

import salabim
from common import ARRIVAL_RATE, MEAN_SERVICE_TIME, main


def build(n_stations, customers, seed):
    env = salabim.Environment(trace=False, random_seed=seed)
    stations = [salabim.Resource(f"station {i}", capacity=1) for i in range(n_stations)]
    service = salabim.Exponential(MEAN_SERVICE_TIME)
    sojourns = []

    class Customer(salabim.Component):
        def process(self):
            for station in stations:
                self.request(station)
                self.hold(service.sample())
                self.release(station)
            sojourns.append(env.now() - self.creation_time())

    interarrival = salabim.Exponential(1 / ARRIVAL_RATE)
    salabim.ComponentGenerator(Customer, iat=interarrival, number=customers)

    def run():
        env.run()
        return sojourns

    return run


main("salabim", "salabim", build)
