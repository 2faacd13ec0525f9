"""Runs whose answers vLLM is to give: what it cannot serve of what they train."""

from collections.abc import Iterator, Mapping

from heirloom.config.arguments.vllm_models import ENCODER_DECODERS, adapter_problem
from heirloom.config.model import Model
from heirloom.config.reward_models import Keys, trained_by
from heirloom.config.run import Run


def vllm_problems(
    run: Run, runs: Mapping[str, Run], models: Mapping[str, Model], roots: Mapping[str, str | None]
) -> Iterator[tuple[Keys, str]]:
    """Yield what vLLM cannot serve of the checkpoint of a run that asks for it.

    `roots`: run → the model at the beginning of its chain.
    """
    if run.generation is None or run.generation.engine != "vllm":
        return
    keys = ("generation", "engine")
    if run.portable:
        yield keys, "vllm chooses its kernels by the processor, and portable: true forbids that; use accelerate"
    if run.predicts_with_generate:
        yield keys, "vllm cannot answer within a training (predict_with_generate); use accelerate"
    model = models.get(roots[run.name] or "")
    if model is not None and model.init is not None and model.init.model_type in ENCODER_DECODERS:
        yield keys, f"vllm serves no encoder-decoder models such as {model.init.model_type}; use accelerate"
    trained = trained_by(run, runs)
    if trained is None or not trained.writes_adapter:
        return
    problem = adapter_problem(trained.peft.model_dump())
    if problem is not None:
        key, why = problem
        place = "" if trained is run else f" of {trained.name}"
        yield keys, f"peft.{key}{place} {why}; use accelerate, or set peft.merge: true there"
