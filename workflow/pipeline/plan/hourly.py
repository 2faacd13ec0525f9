"""What the machines of stages cost by the hour, where a price is known."""

from heirloom.estimates.prices import read_prices
from heirloom.estimates.setups import hosts
from pipeline.ledger import Ledger
from pipeline.plan.quotation import Cluster, is_quoted, machines_of


def dollars_an_hour(ledger: Ledger, cluster: Cluster) -> dict[str, float]:
    """Return stage → US dollars an hour, on demand or of a cluster's GPUs; stages without a known price are left out.

    Raises HeirloomError for a file of prices that is wrong.
    """
    prices = read_prices()
    found = {}
    for name in ledger.names:
        stage = ledger.graph.stages[name]
        if not is_quoted(stage, ledger.project):
            continue
        machines = hosts(machines_of(stage, ledger.project.runs[stage.run]), cluster.gpu)
        dollars = None
        if machines.is_instance:
            dollars = prices.dollars(machines.name, machines.count, 3600)
        elif machines.gpus and machines.ranks and cluster.usd_per_gpu_hour is not None:
            dollars = machines.ranks * cluster.usd_per_gpu_hour
        if dollars is not None:
            found[name] = dollars
    return found
