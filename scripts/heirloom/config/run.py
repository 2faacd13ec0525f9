"""A file in config/runs/: a checkpoint trained from a base, its generations and their scores."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.arguments.attention import unknown_attention
from heirloom.config.elsewhere import elsewhere
from heirloom.config.keys.training_keys import training_problems
from heirloom.config.parsing.named_file import NamedFile
from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.config.sections.gates import gate_problems
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.quantization import QuantizationSection
from heirloom.config.sections.resources import PlanSection, ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.table import TRAINERS

PORTABLE_OPTIMIZERS = ("adamw_torch_fused", "sgd")
"""transformers' own choice first. The others take square roots by oneMKL, which MKL_CBWR does not bind: on a CPU with
AVX512, one with AVX2 and in its COMPATIBLE mode they differ (docs/decisions.md)."""
TrainerName = Literal[tuple(TRAINERS)]


class Run(NamedFile):
    """A run: base → checkpoint (with `trainer`) → generations → evaluation."""

    elsewhere = staticmethod(elsewhere)

    enabled: bool = Field(True, description="false: checked, but no part of the workflow")
    base: str = Field(description="model in config/models/, or another run: its checkpoint")
    trust_remote_code: bool = Field(
        False,
        description="run code that came with the base from its repository, in every stage that loads it or what is "
        "made of it: tokenizer, data, training, answers, scores; read that code first",
    )
    portable: bool = Field(
        False,
        description="the same bytes on every x86-64 processor with AVX2, of any maker, from the same inputs; for CPUs, "
        "and slower (docs/training.md)",
    )
    dataset: str | None = Field(None, description="dataset in config/datasets/: trained and scored on")
    trainer: TrainerName | None = Field(
        None, description="how it is trained (docs/methods.md); absent: the base is scored as it is"
    )
    deepspeed: str | None = Field(None, description="file in config/deepspeed/ without .json; absent: data parallel")
    training: TrainingSection | None = Field(None, description="what decides the trained weights")
    peft: PeftSection | None = Field(None, description="train a low-rank adapter instead of all weights")
    quantization: QuantizationSection | None = Field(None, description="load the base in 8 or 4 bits")
    generation: GenerationSection | None = Field(None, description="answers to held-out prompts; absent: none")
    evaluation: EvaluationSection | None = Field(None, description="scores; absent: none")
    lm_eval: LmEvalSection | None = Field(None, description="scores by the lm-evaluation-harness; absent: none")
    gates: dict[str, str] | None = Field(
        None,
        description="bounds that scores must keep with their whole interval, by score: `>= 0.9`, `<= 12`; for "
        "`change.SCORE` `not worse by 0.01`; `not worse than RUN by 0.01` (docs/evaluation.md); absent: none",
    )
    tracking: TrackingSection = Field(TrackingSection(), description="what is logged and saved on the way; no identity")
    resources: ResourcesSection = Field(ResourcesSection(), description="machines; no identity")
    plan: PlanSection = Field(PlanSection(), description="what the plan does with its estimates; no identity")

    @property
    def trusts_remote_code(self) -> bool:
        """Whether the run says that code which came with its base may run."""
        return self.trust_remote_code is True or (self.training is not None and self.training.trust_remote_code)

    @property
    def predicts_with_generate(self) -> bool:
        """Whether evaluation during training answers held-out prompts, as `generation` says."""
        return self.training is not None and self.training.passed_through.get("predict_with_generate") is True

    @property
    def writes_adapter(self) -> bool:
        """Whether the checkpoint is an adapter alone, which needs the model below it to be loaded."""
        return self.peft is not None and not self.peft.merge

    @property
    def prompts_dataset(self) -> str | None:
        """The dataset whose prompts are answered; None where a file gives them, or nothing is answered."""
        if self.generation is None or self.generation.prompts_file is not None:
            return None
        return self.generation.dataset or self.dataset

    @property
    def prompts(self) -> str | None:
        """The dataset, or the file, whose prompts are answered; None where nothing is answered."""
        return self.generation and (self.generation.prompts_file or self.prompts_dataset)

    def prediction_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with `generation` beside training.predict_with_generate."""
        if not self.given("generation"):
            problem = "needs `generation:`, which says how prompts are answered; add that section or delete it"
            yield "training.predict_with_generate", problem
        elif self.generation is not None and self.generation.num_return_sequences > 1:
            problem = "is not available with training.predict_with_generate, which takes one answer a prompt; delete it"
            yield "generation.num_return_sequences", problem
        elif self.generation is not None and self.generation.prompts_file is not None:
            problem = "has no use in training.predict_with_generate, which answers the test rows of `dataset`"
            yield "generation.prompts_file", f"{problem}; delete one of the two"
        elif self.generation is not None and self.generation.dataset not in (None, self.dataset):
            problem = "would be answered after training only: predict_with_generate answers the test rows of `dataset`"
            yield "generation.dataset", f"{problem}; delete one of the two"

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if self.trainer is None and not self.given("trainer"):
            for key in ("training", "peft", "deepspeed"):
                if self.given(key):
                    yield key, "has no effect without `trainer:`; give a trainer or delete it"
            if not any(map(self.given, ("generation", "evaluation", "lm_eval"))):
                yield "trainer", "this run does nothing; give trainer, generation, evaluation or lm_eval"
        else:
            for key in ("training", "dataset"):
                if not self.given(key):
                    yield key, "is missing; a run with a trainer needs it"
            if self.given("quantization") and not self.given("peft"):
                yield "quantization", "quantized weights cannot be trained; add `peft:` or delete it"
        if self.trainer is not None and self.training is not None:
            yield from training_problems(TRAINERS[self.trainer], self.training, self.peft, self.deepspeed)
        twice = self.training is not None and "trust_remote_code" in self.training.model_fields_set
        if twice and self.given("trust_remote_code"):
            yield "training.trust_remote_code", "says the same as trust_remote_code of the run; delete it here"
        if not self.trusts_remote_code:  # such code may bring attention of its own
            yield from self.attention_problems()
        if self.portable:
            yield from self.portable_problems()
        if self.predicts_with_generate:
            yield from self.prediction_problems()
        if self.evaluation is not None:
            yield from self.evaluation_problems(self.evaluation)
        if self.lm_eval is not None and self.lm_eval.base and self.trainer is None and not self.given("trainer"):
            yield "lm_eval.base", "has no effect without `trainer:`, since the base itself is scored; delete it"
        broken = any(self.given(key) and getattr(self, key) is None for key in ("evaluation", "lm_eval"))
        if self.gates is not None and not broken:
            yield from gate_problems(self.gates, self.evaluation, self.lm_eval)

    def portable_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what computes otherwise on processors of another maker, whatever the libraries are held to."""
        optimizer = self.training and self.training.passed_through.get("optim", PORTABLE_OPTIMIZERS[0])
        if optimizer is not None and optimizer not in PORTABLE_OPTIMIZERS:
            known = " or ".join(PORTABLE_OPTIMIZERS)
            yield (
                "training.optim",
                f"{optimizer} cannot be used with portable: true, because it takes square roots by oneMKL, which "
                f"rounds them otherwise on other processors; use {known}, or delete portable",
            )
        if self.given("quantization"):
            yield (
                "quantization",
                "cannot be used with portable: true, because bitsandbytes chooses its kernels by the processor; "
                "delete one of the two",
            )

    def attention_problems(self) -> Iterator[tuple[str, str]]:
        """Yield the sections that name attention which transformers does not have."""
        for name in ("training", "generation", "evaluation", "lm_eval"):
            section = getattr(self, name)
            attention = section and section.attn_implementation
            if attention and (problem := unknown_attention(attention)) is not None:
                yield f"{name}.attn_implementation", problem

    def evaluation_problems(self, evaluation: EvaluationSection) -> Iterator[tuple[str, str]]:
        """Yield what the scores need and the run does not have."""
        writes = self.trainer is None or not TRAINERS[self.trainer].scores
        if writes and evaluation.reads_generations and not self.given("generation"):
            yield "evaluation.metrics", "need answers to score; add `generation:` or keep only perplexity"
        if evaluation.base and self.trainer is None and not self.given("trainer"):
            yield "evaluation.base", "has no effect without `trainer:`, since the base itself is scored; delete it"
