"""Ciw: a network of nodes, run until the given number of customers has left it."""

import ciw
from common import ARRIVAL_RATE, MEAN_SERVICE_TIME, batch_means, main


def build(n_stations, customers, seed):
    ciw.seed(seed)
    last = n_stations - 1
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=ARRIVAL_RATE)] + [None] * last,
        service_distributions=[ciw.dists.Exponential(rate=1 / MEAN_SERVICE_TIME)] * n_stations,
        number_of_servers=[1] * n_stations,
        routing=[[float(to == at + 1) for to in range(n_stations)] for at in range(n_stations)],
    )
    simulation = ciw.Simulation(network)

    def run():
        simulation.simulate_until_max_customers(customers, method="Complete")
        return simulation

    return run


def means(simulation, customers):
    """A customer's sojourn ends its last record and starts with the arrival of its first one."""
    records = (customer.data_records for customer in simulation.nodes[-1].all_individuals)
    sojourns = [visits[-1].exit_date - visits[0].arrival_date for visits in records]
    return batch_means(sojourns, customers)


main("ciw", "ciw", build, means)
