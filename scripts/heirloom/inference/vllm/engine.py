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
from heirloom.inference.vllm.arguments import cache_on_cpu, engine_arguments
from heirloom.inference.vllm.environment import vllm_environment, vllm_variables
from heirloom.inference.vllm.hollow_model import load_hollow
from heirloom.inference.vllm.process import VllmProcess
from heirloom.inference.vllm.requests import request
from heirloom.json_files import read_json
from heirloom.models.trained_checkpoints import (
    ADAPTER,
    is_adapter,
    load_tokenizer,
    was_saved_quantized,
)

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
    here = int(os.environ.get("LOCAL_WORLD_SIZE", torch.cuda.device_count()))  # no torchrun begins a server or a chat
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
        return begin(self.checkpoint, self.answerer, self.longest_text, len(self.own), self.log)


def begin(checkpoint: Path, answerer: Answerer, longest_text: int, answers: int, log: Path) -> VllmProcess:
    """Start vLLM with a checkpoint, of which `load_for_vllm` has told `answerer`.

    `longest_text`: tokens of a prompt with its answer; `answers`: how many there will be; `log`: a file for what vLLM
    says. Raises HeirloomError with its reason when it cannot.
    """
    section, config = answerer.section, answerer.model.config
    gpus = [] if on_cpu() else devices(section.tensor_parallel_size or 1)
    adapter = checkpoint if is_adapter(checkpoint) else None
    cache = cache_on_cpu(config, longest_text, answers)
    variables = vllm_variables(os.environ, gpus, cache, batch_invariant=section.deterministic)
    arguments = engine_arguments(checkpoint, config, section, longest_text)
    return VllmProcess(vllm_environment() / "bin/python", arguments, adapter, variables, log)


def devices(number: int) -> list[str]:
    """Return the GPUs, as CUDA_VISIBLE_DEVICES names them, of this rank and the next ones: `number` in all."""
    first = int(os.environ.get("LOCAL_RANK", "0"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(device) for device in range(torch.cuda.device_count())]
    return visible[first : first + number]
