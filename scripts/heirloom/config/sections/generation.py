"""`generation:` answers of a checkpoint to the held-out prompts of a dataset."""

import math
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from heirloom.config.arguments.attention import MEANING
from heirloom.config.arguments.library_arguments import as_the_library_wants
from heirloom.config.parsing.section import PassThroughSection

# What decides how a token is drawn, in the order in which transformers applies it.
SAMPLING = ("temperature", "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")

# What looks at the whole prompt, and must not see the padding of a batch, with the value that changes nothing.
OF_WHOLE_PROMPTS = {
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
}

WATERMARKING = ("bias", "context_width", "greenlist_ratio", "hashing_key", "seeding_scheme")
"""Keys of transformers' WatermarkingConfig."""
ENGINE_KEYS = {
    "replace_with_kernel_inject": "deepspeed",
    "cpu_offload": "deepspeed_zero",
    "nvme_path": "deepspeed_zero",
    "tensor_parallel_size": "vllm",
}
"""Keys that one engine alone reads."""
VLLM_TAKES = ("min_length", "min_new_tokens", "min_p", "repetition_penalty")
"""Keys that are passed through and mean the same to vLLM."""
COOLEST = 0.01
"""vLLM raises a lower temperature to this without a word, and takes one near zero for greedy."""


class GenerationSection(PassThroughSection):
    """How a checkpoint answers; every other key goes to transformers.GenerationConfig."""

    engine: Literal["accelerate", "deepspeed", "deepspeed_zero", "continuous", "vllm"] = Field(
        "accelerate",
        description="accelerate: each rank holds the model and answers its share; deepspeed: the ranks share "
        "each layer (tensor parallel); deepspeed_zero: each rank holds a part of the weights (ZeRO-3); "
        "continuous: as accelerate, and a finished answer makes room for the next at once; vllm: as continuous, by "
        "vLLM in an environment of its own (make setup-vllm)",
    )
    dataset: str | None = Field(None, description="dataset whose test split gives the prompts; absent: the run's")
    prompts_file: str | None = Field(
        None, description="a .jsonl file with `prompt` or `messages` a line gives the prompts, instead of a dataset"
    )
    test_batch_size: int = Field(8, ge=1, description="answers a rank and forward pass; fewer where memory ends")
    deterministic: bool = Field(
        False,
        description="only operations that repeat their results to the last bit, on GPUs too; the first "
        "batch is answered twice and compared (docs/training.md)",
    )
    limit: int | None = Field(None, ge=1, description="only the first so many prompts; absent: all")
    replace_with_kernel_inject: bool = Field(False, description="deepspeed: use DeepSpeed's own kernels (GPU only)")
    cpu_offload: bool = Field(False, description="deepspeed_zero: keep the weights in the host's memory")
    nvme_path: str | None = Field(None, description="deepspeed_zero: keep the weights on the drive with this folder")
    tensor_parallel_size: int | None = Field(
        None, ge=1, description="vllm: GPUs of a machine that share each copy of the model; absent: 1"
    )
    output_format: Literal["jsonl", "parquet"] = Field("jsonl", description="form of the file of generations")
    default_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type in which the checkpoint is loaded; auto: as it was saved"
    )
    attn_implementation: str | None = Field(None, description=f"{MEANING}as the run was trained")
    max_new_tokens: int = Field(64, ge=1, description="longest answer, tokens")
    max_length: int | None = Field(
        None, ge=2, description="longest prompt with its answer, tokens; with max_new_tokens the first that is reached"
    )
    eos_tokens: str | None = Field(
        None, description="tokens that end an answer: ids or strings, comma-separated; absent: the model's own"
    )
    skip_special_tokens: bool = Field(
        True, description="leave special tokens out of the completions; false: keep those before the one that ends them"
    )
    num_return_sequences: int = Field(1, ge=1, description="do_sample: answers to each prompt")
    do_sample: bool = Field(False, description="draw from the distribution; false: greedy")
    seed: int = Field(0, description="do_sample: seed of the draws; each prompt has its own stream")
    temperature: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="do_sample: below 1 sharpens the distribution, above 1 flattens"
    )
    top_k: int = Field(50, ge=0, description="do_sample: only the k likeliest tokens; 0: all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="do_sample: only the likeliest tokens that sum to this probability"
    )

    @property
    def sampling_arguments(self) -> dict[str, Any]:
        """The options that decide how a token is drawn, under transformers' names."""
        own = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return own | {key: value for key, value in self.for_transformers.items() if key in SAMPLING}

    @property
    def for_transformers(self) -> dict[str, Any]:
        """The keys that are passed through, of the types that transformers wants."""
        return as_the_library_wants("generation_config", self.passed_through)

    @property
    def prompt_arguments(self) -> dict[str, Any]:
        """The options that look at the whole prompt, under transformers' names, as far as they change anything."""
        return {
            key: value
            for key, value in self.for_transformers.items()
            if value is not None and value != OF_WHOLE_PROMPTS.get(key, value)
        }

    @property
    def search_arguments(self) -> dict[str, Any]:
        """All other keys for transformers.GenerationConfig."""
        elsewhere = (*SAMPLING, *OF_WHOLE_PROMPTS)
        others = {key: value for key, value in self.for_transformers.items() if key not in elsewhere}
        return {"max_new_tokens": self.max_new_tokens, **others}

    def longest_answer(self, prompt_tokens: int) -> int:
        """Return how many tokens the answer to a prompt may have; below 1 when the prompt leaves no room."""
        return min(self.max_new_tokens, (self.max_length or math.inf) - prompt_tokens)

    def rules(self) -> Iterator[tuple[str, str]]:
        others = self.passed_through
        beams = as_number(others.get("num_beams")) or 1
        yield from self.engine_rules()
        if self.max_length is not None and beams > 1:
            yield "max_length", "cannot be combined with num_beams, whose choice depends on it; use max_new_tokens"
        if self.prompts_file is not None and self.dataset is not None:
            yield "prompts_file", "cannot stand beside dataset, which gives prompts too; delete one of them"
        if as_number(others.get("min_new_tokens")) > self.max_new_tokens:
            yield "min_new_tokens", f"is larger than max_new_tokens {self.max_new_tokens}; lower it"
        for key in others["watermarking_config"] if isinstance(others.get("watermarking_config"), dict) else ():
            if key not in WATERMARKING:
                known = ", ".join(WATERMARKING)
                yield "watermarking_config", f"{key} is no key of transformers' WatermarkingConfig; known are {known}"
        if beams < 2:
            for key in ("early_stopping", "length_penalty"):
                if others.get(key) is not None:
                    yield key, "has no effect without num_beams of at least 2; add that or delete it"
        if self.max_length is not None and others.get("forced_eos_token_id") is not None:
            yield "forced_eos_token_id", "cannot be combined with max_length, which ends each answer at another place"
        if self.eos_tokens is not None and not any(name.strip() for name in self.eos_tokens.split(",")):
            yield "eos_tokens", "names no token; give ids or strings, comma-separated, or delete it"
        if not self.do_sample:
            for key in ("seed", "num_return_sequences", *SAMPLING):
                if key in self.model_fields_set or key in others:
                    yield key, "has no effect without do_sample: true; add that or delete it"
        elif beams > 1:
            yield "num_beams", "cannot be combined with do_sample: true; delete one of them"
        elif others.get("watermarking_config"):
            yield "watermarking_config", "cannot be combined with do_sample: true; delete one of them"

    def engine_rules(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that the engine has no use for, or cannot do."""
        for key, engine in ENGINE_KEYS.items():
            if key in self.model_fields_set and self.engine != engine:
                yield key, f"has no effect with engine: {self.engine}; set engine: {engine} or delete it"
        if self.cpu_offload and self.nvme_path is not None:
            yield "cpu_offload", "cannot stand beside nvme_path: weights lie in one place; delete one of them"
        if self.engine == "continuous":
            if "test_batch_size" in self.model_fields_set:
                yield "test_batch_size", "has no effect with engine: continuous, which fills the memory; delete it"
            for key in ("do_sample", *self.passed_through):
                if key in self.model_fields_set or key in self.passed_through:
                    yield key, "is not available with engine: continuous, which answers greedily; use accelerate"
        if self.engine == "vllm":
            yield from self.vllm_rules()

    def vllm_rules(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that vLLM has no use for, or nothing that is equal to."""
        for key, why in (("test_batch_size", "fills the memory"), ("attn_implementation", "has attention of its own")):
            if key in self.model_fields_set:
                yield key, f"has no effect with engine: vllm, which {why}; delete it"
        for key in self.passed_through:
            if key not in VLLM_TAKES:
                yield key, "is not available with engine: vllm, which has nothing that does the same; use accelerate"
        if self.do_sample and self.temperature < COOLEST:
            yield "temperature", f"is below {COOLEST:g}, to which engine: vllm would raise it; use that, or accelerate"


def as_number(value: Any) -> float:
    """Return a number as it is, and 0 for anything else, which is told elsewhere."""
    return value if isinstance(value, int | float) else 0
