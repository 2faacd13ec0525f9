"""What stages with `engine: vllm` need of this machine, asked before anything is executed on it."""

import json
from pathlib import Path
from typing import Any

from heirloom.config.arguments.vllm_models import cpu_problem
from heirloom.errors import HeirloomError
from heirloom.inference.vllm.environment import vllm_environment
from heirloom.launcher.hosts.devices import devices_here
from pipeline.graph import VLLM_PINS, Stage
from pipeline.ledger import Ledger


def check_vllm_here(ledger: Ledger) -> None:
    """Look at the stages to be executed that vLLM is to answer in.

    Raises HeirloomError where its environment is not installed, or where this machine has no GPU and vLLM's kernels for
    CPUs do not fit the model, as far as its sizes are known yet.
    """
    stages = [ledger.graph.stages[name] for name in ledger.to_do_or_to_follow()]
    stages = [stage for stage in stages if VLLM_PINS[0] in stage.files]
    if not stages:
        return
    try:
        vllm_environment()
    except HeirloomError as error:
        raise HeirloomError(f"{stages[0].name}: {error}") from None
    if devices_here():
        return
    for stage in stages:
        if problem := cpu_problem(sizes_of(stage, ledger)):
            raise HeirloomError(f"{stage.name}: generation.engine: {problem}")


def sizes_of(stage: Stage, ledger: Ledger) -> dict[str, Any]:
    """Return the configuration of the model that a stage answers with: of its files, or as its run's model says."""
    file = Path(stage.inputs["checkpoint"][-1]) / "config.json"
    if file.is_file():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:  # damaged: told where it is read
            return {}
        return found if isinstance(found, dict) else {}
    model = ledger.project.models[ledger.project.root_model(stage.run)]
    return model.init.passed_through if model.init is not None else {}
