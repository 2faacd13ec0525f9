"""`engine: vllm`: each rank, or each group of them, has a process of vLLM that answers its share of the prompts.

A rank is a GPU, so ranks are vLLM's data parallelism; with `tensor_parallel_size: n` the first of each n ranks of a
machine has the process, on all their GPUs, and the others wait. On a CPU every rank has one.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from heirloom.config.arguments.vllm_models import adapter_problem, cpu_problem
from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu, say
from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.completion_logprobs import DECIMALS
from heirloom.inference.engine_check import check_repeated
from heirloom.inference.prompts import AnswerKey, Prompt
from heirloom.inference.vllm.environment import vllm_environment, vllm_variables
from heirloom.inference.vllm.hollow_model import load_hollow, saved_dtype
from heirloom.inference.vllm.process import VllmProcess
from heirloom.inference.vllm.requests import request
from heirloom.json_files import read_json
from heirloom.models.trained_checkpoints import (
    ADAPTER,
    is_adapter,
    load_tokenizer,
    root_of,
    was_saved_quantized,
)

RANKS_OF_ADAPTERS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Room that vLLM may keep for an adapter's rank."""
SHARE_OF_CARD = 0.85
"""Of a GPU's memory that vLLM may fill; the stage itself has a little of it."""
ANSWERS_AT_ONCE = 256
CACHE_ON_CPU = (1, 4)
"""GiB for the keys and values of all answers at once on a CPU: at least, at most."""
ANSWERED_TWICE = 8
"""Prompts that are answered once more under `deterministic: true`."""
BATCH_INVARIANT = (8, 0)
"""The least compute capability of a GPU for which vLLM has kernels whose results no batch changes."""

Rows = list[dict[str, Any]]


def load_for_vllm(checkpoint: Path, section: GenerationSection, ranks: PartialState) -> Answerer:
    """Return what the stage has to know of a checkpoint whose weights vLLM loads; every rank calls this.

    Raises HeirloomError when vLLM is not installed, or cannot serve the checkpoint or this machine.
    """
    vllm_environment()
    model = load_hollow(checkpoint)
    if model.config.is_encoder_decoder:
        kind = model.config.model_type
        raise HeirloomError(f"generation.engine: vllm serves no encoder-decoder models such as {kind}: use accelerate")
    if is_adapter(checkpoint) and (found := adapter_problem(read_json(checkpoint / ADAPTER))):
        raise HeirloomError(f"{checkpoint / ADAPTER}: {found[0]} {found[1]}: use engine: accelerate, or merge it")
    check_machine(model.config, section)
    return Answerer(model, load_tokenizer(checkpoint), section, ranks.device, logprobs=True)


def check_machine(config: Any, section: GenerationSection) -> None:
    """Raise HeirloomError for what vLLM cannot do with the processors or GPUs of this machine."""
    shared = section.tensor_parallel_size or 1
    if on_cpu():
        if shared > 1:
            raise HeirloomError(
                f"generation.tensor_parallel_size: {shared} GPUs are to share the model, and this machine has none: "
                "delete it"
            )
        if was_saved_quantized(config):
            raise HeirloomError(
                "generation.engine: vllm reads weights in 8 or 4 bits on GPUs only, and this machine has none: use "
                "engine: accelerate"
            )
        if problem := cpu_problem(config.get_text_config().to_dict()):
            raise HeirloomError(f"generation.engine: {problem}")
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here % shared:
        raise HeirloomError(
            f"generation.tensor_parallel_size: the {here} GPUs of this machine cannot be parted into groups of {shared}"
        )
    if section.deterministic and torch.cuda.get_device_capability() < BATCH_INVARIANT:
        needed = ".".join(map(str, BATCH_INVARIANT))
        raise HeirloomError(
            f"generation.deterministic: vllm repeats its results on GPUs of compute capability {needed} and newer: "
            "delete the key, or use engine: accelerate"
        )


class VllmEngine:
    """Answers the prompts that are this rank's to answer; the same questions can be asked of it as of `Engine`."""

    def __init__(
        self, answerer: Answerer, checkpoint: Path, prompts: Sequence[Prompt], ranks: PartialState, work: Path
    ) -> None:
        """`prompts` are those of all ranks; `work`: a folder for what vLLM says."""
        self.answerer, self.checkpoint, self.rank = answerer, checkpoint, ranks.process_index
        self.shared = answerer.section.tensor_parallel_size or 1
        self.ranks_in_parallel = ranks.num_processes // self.shared
        self.reports = self.rank % self.shared == 0
        """Whether this rank has a process, and so answers of its own."""
        self.own = prompts[self.rank // self.shared :: self.ranks_in_parallel] if self.reports else []
        self.longest_text = max(len(prompt.ids) + answerer.longest_answer(prompt) for prompt in prompts)
        self.log = work / f"vllm-{self.rank}.log"

    @property
    def total(self) -> int:
        """How many answers this rank reports."""
        return len(self.own)

    def answers(self, done: set[AnswerKey]) -> Iterator[Rows]:
        """Yield rows as they are finished, of all prompts but those whose keys are `done`."""
        pending = [prompt for prompt in self.own if prompt.key not in done]
        if not pending:
            return
        with self.process() as process:
            say(f"vLLM: {json.dumps(process.versions)}")
            yield from self.answers_by(process, pending)

    def answers_by(self, process: VllmProcess, prompts: Sequence[Prompt]) -> Iterator[Rows]:
        """Yield the answers of a process to prompts, a row at a time, as they are finished.

        Raises HeirloomError when the process cannot go on, or where `deterministic` finds two results.
        """
        requests = [request(number, prompt, self.answerer) for number, prompt in enumerate(prompts)]
        if self.answerer.section.deterministic:
            few = requests[:ANSWERED_TWICE]
            check_repeated(sorted(process.answers(few)), sorted(process.answers(few)))
        for name, tokens, logprobs in process.answers(requests):
            yield [self.row(prompts[name], tokens, logprobs)]

    def row(self, prompt: Prompt, tokens: list[int], logprobs: list[float]) -> dict[str, Any]:
        """Describe one answer."""
        answer_ids, finished = self.answerer.without_end(prompt, tokens)
        logprob = round(math.fsum(logprobs[: len(answer_ids)]), DECIMALS)
        return self.answerer.row(prompt, answer_ids, finished) | {"logprob": logprob}

    def process(self) -> VllmProcess:
        """Start vLLM with the checkpoint. Raises HeirloomError with its reason when it cannot."""
        section, gpus = self.answerer.section, [] if on_cpu() else devices(self.shared)
        adapter = self.checkpoint if is_adapter(self.checkpoint) else None
        variables = vllm_variables(os.environ, gpus, self.cache_on_cpu(), batch_invariant=section.deterministic)
        return VllmProcess(vllm_environment() / "bin/python", self.arguments(), adapter, variables, self.log)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of vllm.LLM."""
        root, section = root_of(self.checkpoint), self.answerer.section
        config = self.answerer.model.config
        dtype = section.default_dtype
        if dtype == "auto":  # vLLM's own would compute in 16 bits what was saved in 32
            dtype = str(config.dtype or saved_dtype(root)).removeprefix("torch.")
        found = {
            "model": str(root),
            "dtype": dtype,
            "load_format": "safetensors" if not was_saved_quantized(config) else "bitsandbytes",
            "skip_tokenizer_init": True,
            "generation_config": "vllm",  # none of the checkpoint's defaults
            "max_model_len": self.longest_text,
            "max_num_seqs": ANSWERS_AT_ONCE,
            "tensor_parallel_size": self.shared,
            "gpu_memory_utilization": SHARE_OF_CARD,
            "enforce_eager": on_cpu(),  # it would compile for minutes
            "enable_prefix_caching": not section.deterministic,
            "disable_log_stats": True,
            "seed": 0,
        }
        if is_adapter(self.checkpoint):
            settings = read_json(self.checkpoint / ADAPTER)
            largest = max([settings["r"], *(settings.get("rank_pattern") or {}).values()])
            room = next(rank for rank in RANKS_OF_ADAPTERS if rank >= largest)
            found |= {"enable_lora": True, "max_lora_rank": room, "max_loras": 1}
        return found

    def cache_on_cpu(self) -> int:
        """Return the GiB for keys and values that as many answers as vLLM has at once may need, within bounds."""
        config = self.answerer.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        a_token = 2 * config.num_hidden_layers * heads * size * 4  # bytes, in 32 bits
        needed = a_token * self.longest_text * min(ANSWERS_AT_ONCE, max(len(self.own), 1))
        least, most = CACHE_ON_CPU
        return min(max(math.ceil(needed / 2**30), least), most)


def devices(number: int) -> list[str]:
    """Return the GPUs, as CUDA_VISIBLE_DEVICES names them, of this rank and the next ones: `number` in all."""
    first = int(os.environ.get("LOCAL_RANK", "0"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(device) for device in range(torch.cuda.device_count())]
    return visible[first : first + number]
