"""One answer after another by a process of vLLM, each shown as it comes: for conversations."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from transformers import TextStreamer

from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.prompts import Prompt
from heirloom.inference.vllm.arguments import longest_conversation
from heirloom.inference.vllm.engine import begin
from heirloom.inference.vllm.requests import request


@contextmanager
def talking(checkpoint: Path, answerer: Answerer, log: Path) -> Iterator[Callable[[Prompt, TextStreamer], None]]:
    """Start vLLM with a checkpoint, and give a function that answers a prompt and tells the tokens to a streamer.

    `answerer`: of `load_for_vllm`; `log`: a file for what vLLM says. Raises HeirloomError with its reason when it
    cannot.
    """
    longest = longest_conversation(answerer)
    with begin(checkpoint, answerer, longest, 1, log) as process:

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
