"""`training:` our own few keys; all others are transformers' and TRL's, passed through under their names."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from heirloom.config.arguments.attention import MEANING
from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.parsing.section import PassThroughSection, Section


class Reward(Section):
    """One part of an answer's reward; what is wrong with its keys says `heirloom.config.keys.reward_keys`."""

    function: str = Field(
        description="exact_match, numeric_match, math_verify, format, length, reward_model (docs/training.md), or "
        "your own as `module:function`"
    )
    weight: float = Field(1.0, allow_inf_nan=False, description="what the number is multiplied with in the sum")
    name: str | None = Field(None, description="name in curves and logs; absent: the function's")
    answer_pattern: str | None = Field(
        None,
        description="exact_match: regular expression whose group 1 is the answer, in completion and reference; "
        "absent: the whole text without surrounding white space",
    )
    pattern: str | None = Field(
        None, description="format: regular expression; 1 where it is found in the answer, else 0"
    )
    reward_model: str | None = Field(
        None, description="reward_model: the run whose reward model (trainer: reward) scores the answers"
    )

    @property
    def label(self) -> str:
        """The name in curves and logs."""
        return self.name or self.function.rpartition(":")[2]


class TrainingSection(PassThroughSection):
    """What decides the weights; other keys go to transformers.TrainingArguments or TRL's config of the trainer."""

    global_batch_size: int = Field(
        ge=1,
        description="sequences (DPO, ORPO, reward: pairs; GRPO, RLOO: answers) an optimizer step, over all ranks; "
        "gradient_accumulation_steps is global_batch_size / (per_device_train_batch_size × ranks)",
    )
    per_device_train_batch_size: int = Field(8, ge=1, description="sequences (pairs) a rank and forward pass")
    default_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type in which the base is loaded; auto: as it was saved"
    )
    attn_implementation: str | None = Field(
        None, description=f"{MEANING}transformers' choice; answers and scores use it too"
    )
    trust_remote_code: bool = Field(False, description="the same as `trust_remote_code` of the run, where it belongs")
    deterministic: bool = Field(
        False,
        description="only operations that repeat their results to the last bit, on GPUs too; the first "
        "batch's gradients are computed twice and compared (docs/training.md)",
    )
    ignore_bias_buffers: bool = Field(
        False, description="keep boolean buffers (attention masks of old models) out of data-parallel synchronisation"
    )
    seq_length: int | None = Field(
        None,
        ge=2,
        description="trainer: join text rows and cut them into rows of so many tokens; sft with packing: tokens of a "
        "packed row; absent: rows as they are, sft with packing: the dataset's max_length",
    )
    reference: Literal["scores", "inline"] | None = Field(
        None,
        description="dpo, kto: where the reference's log-probabilities come from. scores: a stage of their own, which "
        "trainings on one base and dataset share; inline: each step computes them; absent: scores, with `peft:` inline",
    )
    collator: CollatorName = Field(
        "default", description="what makes batches of rows (docs/training.md); default: the trainer's own"
    )
    pad_to_multiple_of: int | None = Field(
        None, ge=1, description="pad batches to a multiple of so many tokens; 8 suits a GPU's tensor cores"
    )
    rewards: list[Reward] | None = Field(
        None, min_length=1, description="grpo, rloo: what an answer is worth: the weighted sum of these"
    )
    mlm_probability: float = Field(0.15, gt=0, lt=1, description="collator mlm: share of the tokens that is masked")
    load_best_model_at_end: bool = Field(
        False, description="the checkpoint is the state that measured best, not the last one (docs/training.md)"
    )
    metric_for_best_model: str | None = Field(
        None, description="held-out value that says which state is best, with or without `eval_`; absent: loss"
    )
    greater_is_better: bool | None = Field(
        None, description="whether more of it is better; absent: not of names that end with loss or perplexity"
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description="end after so many measurements in a row that are no better; absent: train to the end"
    )
    early_stopping_threshold: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="early_stopping_patience: a measurement is better by more than this"
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys for the trainer's own arguments class, as written in the file."""
        return {"per_device_train_batch_size": self.per_device_train_batch_size, **self.passed_through}

    @property
    def reward_models(self) -> list[str]:
        """The runs whose reward models say what an answer is worth, each once."""
        return list(dict.fromkeys(each.reward_model for each in self.rewards or () if each.reward_model is not None))

    @property
    def collation(self) -> dict[str, Any]:
        """The keys that say how batches are made, as `training.batches.collator_choice.make_collator` takes them."""
        return {
            "name": self.collator,
            "pad_to_multiple_of": self.pad_to_multiple_of,
            "mlm_probability": self.mlm_probability,
        }

    @property
    def compares_states(self) -> bool:
        """Whether held-out values decide which state is kept, or when training ends."""
        return self.load_best_model_at_end or self.early_stopping_patience is not None

    @property
    def best_metric(self) -> str:
        """The held-out value that they go by, under the name that the trainer logs it by, without `eval_`."""
        return (self.metric_for_best_model or "loss").removeprefix("eval_")

    @property
    def more_is_better(self) -> bool:
        """Whether more of `best_metric` is better."""
        given = self.greater_is_better
        return not self.best_metric.endswith(("loss", "perplexity")) if given is None else given

    def best_state_rules(self) -> Iterator[tuple[str, str]]:
        """Yield keys of the choice of a state that have no effect, or lack what they go by."""
        chosen = "load_best_model_at_end: true or early_stopping_patience"
        if not self.compares_states:
            for key in ("metric_for_best_model", "greater_is_better"):
                if getattr(self, key) is not None:
                    yield key, f"has no effect without {chosen}; add one or delete it"
        elif self.passed_through.get("eval_strategy", "no") in ("no", False):
            key = "load_best_model_at_end" if self.load_best_model_at_end else "early_stopping_patience"
            yield key, "compares measurements of held-out rows; set eval_strategy: steps with eval_steps, or epoch"
        if self.early_stopping_patience is None and "early_stopping_threshold" in self.model_fields_set:
            yield "early_stopping_threshold", "has no effect without early_stopping_patience; add that or delete it"

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from self.best_state_rules()
        if "mlm_probability" in self.model_fields_set and self.collator != "mlm":
            yield "mlm_probability", "has no effect without collator: mlm; add that or delete it"
