"""A file in config/runs/: a checkpoint trained from a base, its generations and their scores."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.evaluation import EvaluationSection
from heirloom.config.generation import GenerationSection
from heirloom.config.named_file import NamedFile
from heirloom.config.peft import PeftSection
from heirloom.config.quantization import QuantizationSection
from heirloom.config.resources import ResourcesSection
from heirloom.config.tracking import TrackingSection
from heirloom.config.training import TrainingSection

Trainer = Literal["trainer", "seq2seq", "sft", "dpo", "orpo"]


class Run(NamedFile):
    """A run: base → checkpoint (with `trainer`) → generations → evaluation."""

    enabled: bool = Field(True, description="false: checked, but no part of the workflow")
    base: str = Field(description="model in config/models/, or another run: its checkpoint")
    dataset: str | None = Field(None, description="dataset in config/datasets/: trained and scored on")
    trainer: Trainer | None = Field(
        None,
        description="trainer (language modelling), seq2seq, sft, dpo or orpo; absent: the base is scored as it is",
    )
    deepspeed: str | None = Field(None, description="file in config/deepspeed/ without .json; absent: data parallel")
    training: TrainingSection | None = Field(None, description="what decides the trained weights")
    peft: PeftSection | None = Field(None, description="train a low-rank adapter instead of all weights")
    quantization: QuantizationSection | None = Field(None, description="load the base in 8 or 4 bits")
    generation: GenerationSection | None = Field(None, description="answers to held-out prompts; absent: none")
    evaluation: EvaluationSection | None = Field(None, description="scores; absent: none")
    tracking: TrackingSection = Field(TrackingSection(), description="what is logged and saved on the way; no identity")
    resources: ResourcesSection = Field(ResourcesSection(), description="machines; no identity")

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if self.trainer is None and not self.given("trainer"):
            for key in ("training", "peft", "deepspeed"):
                if self.given(key):
                    yield key, "has no effect without `trainer:`; give a trainer or delete it"
            if not self.given("generation") and not self.given("evaluation"):
                yield "trainer", "this run does nothing; give trainer, generation or evaluation"
        else:
            for key in ("training", "dataset"):
                if not self.given(key):
                    yield key, "is missing; a run with a trainer needs it"
            if self.given("quantization") and not self.given("peft"):
                yield "quantization", "quantized weights cannot be trained; add `peft:` or delete it"
        if self.evaluation is not None and self.evaluation.reads_generations and not self.given("generation"):
            yield "evaluation.metrics", "need answers to score; add `generation:` or keep only perplexity"
