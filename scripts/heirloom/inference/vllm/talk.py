"""One answer after another by a process of vLLM, each shown as it comes: for conversations."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from transformers import TextStreamer

from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.prompts import Prompt
from heirloom.inference.vllm.arguments import cache_on_cpu, engine_arguments, longest_conversation
from heirloom.inference.vllm.engine import devices
from heirloom.inference.vllm.environment import vllm_environment, vllm_variables
from heirloom.inference.vllm.process import VllmProcess
from heirloom.inference.vllm.requests import request
from heirloom.models.trained_checkpoints import is_adapter


@contextmanager
def talking(checkpoint: Path, answerer: Answerer, log: Path) -> Iterator[Callable[[Prompt, TextStreamer], None]]:
    """Start vLLM with a checkpoint, and give a function that answers a prompt and tells the tokens to a streamer.

    `answerer`: of `load_for_vllm`; `log`: a file for what vLLM says. Raises HeirloomError with its reason when it
    cannot.
    """
    config, longest = answerer.model.config, longest_conversation(answerer)
    arguments = engine_arguments(checkpoint, config, answerer.section, longest)
    gpus = [] if on_cpu() else devices(answerer.section.tensor_parallel_size or 1)
    variables = vllm_variables(os.environ, gpus, cache_on_cpu(config, longest, 1), batch_invariant=False)
    adapter = checkpoint if is_adapter(checkpoint) else None
    python = vllm_environment() / "bin/python"
    with VllmProcess(python, arguments, adapter, variables, log) as process:

        def answer(prompt: Prompt, streamer: TextStreamer) -> None:
            if len(prompt.ids) >= longest:
                raise HeirloomError(
                    f"the conversation has {len(prompt.ids)} tokens, and {longest} are kept here: /new begins anew"
                )
            streamer.put(torch.tensor([prompt.ids]))
            with closing(process.stream(request(0, prompt, answerer))) as tokens:
                for new in tokens:
                    for token in new:
                        streamer.put(torch.tensor([token]))
            streamer.end()

        yield answer
