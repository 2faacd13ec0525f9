"""config/ → stages → dvc.yaml. What there is to make, and by which command; nothing here knows a hash.

`load_graph` is the beginning: it reads and checks config/ and returns every enabled stage in run order.
"""

from pipeline.graph import dvcfile
from pipeline.graph.commands import flags_of, launched, shown
from pipeline.graph.graph import Graph, load_graph
from pipeline.graph.machines import RESOURCES, job_resources
from pipeline.graph.stages import CHECKED, KINDS, Stage

__all__ = [
    "CHECKED", "Graph", "KINDS", "RESOURCES", "Stage", "dvcfile", "flags_of", "job_resources", "launched", "load_graph",
    "shown",
]  # fmt: skip
