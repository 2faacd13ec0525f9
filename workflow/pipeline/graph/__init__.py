"""config/ → stages → dvc.yaml. What there is to make, and by which command; nothing here knows a hash.

`load_graph` is the beginning: it reads and checks config/ and returns every enabled stage in run order.
"""

from pipeline.graph import dvcfile
from pipeline.graph.answers import VLLM_PINS, said_settings
from pipeline.graph.commands import SETTINGS, flags_of, launched, settings_in, shown
from pipeline.graph.graph import Graph, build_graph, load_graph
from pipeline.graph.machines import RESOURCES, job_resources
from pipeline.graph.model_loading import attention_of, checkpoint_of, model_folders, trust_of
from pipeline.graph.packed_rows import counts_of_packed, packed_rows
from pipeline.graph.stages import CHECKED, CODE_FOLDER, KINDS, Stage, code, code_file, program_of

__all__ = [
    "CHECKED", "CODE_FOLDER", "Graph", "KINDS", "RESOURCES", "SETTINGS", "Stage", "VLLM_PINS", "attention_of",
    "build_graph", "checkpoint_of", "code", "code_file", "counts_of_packed", "dvcfile", "flags_of", "job_resources",
    "launched", "load_graph", "model_folders", "packed_rows", "program_of", "said_settings", "settings_in", "shown",
    "trust_of",
]  # fmt: skip
