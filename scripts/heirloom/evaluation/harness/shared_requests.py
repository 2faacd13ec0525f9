"""A language model of the lm-evaluation-harness whose requests all ranks answer together.

Every rank builds all requests, as the harness does alone, and answers its share of them. The harness's own way, a share
of the rows each, gathers results by torch's collectives of objects, which carry pickles; here ranks tell each other
numbers and texts. Needs the harness, which is in an environment of its own: import it where that is known.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from accelerate import PartialState
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heirloom.distributed import gathered
from heirloom.errors import HeirloomError

Answer = Callable[[Sequence[Instance], Sequence[str]], list[Any]]
"""Requests and their keys → what the model says to each."""


class SharedHFLM(HFLM):
    """transformers' model, of which each rank has its own; every rank calls the methods with the same requests.

    What is asked twice is answered once: where two choices of a question are the same text, both have the very same
    score, in whichever batches they would have been. To the harness it is one process.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int, ranks: PartialState
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        self.ranks = ranks
        self.quiet = {"disable_tqdm": not ranks.is_main_process}

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return the log-probability (nats) of each continuation, and whether it is what the model would say."""
        answer = super().loglikelihood
        found = self.shared(requests, keys_of(requests), lambda own, _: answer(own, **self.quiet))
        return [(number, likeliest) for number, likeliest in found]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability (nats) of each whole text."""
        answer = super().loglikelihood_rolling
        return self.shared(requests, keys_of(requests), lambda own, _: answer(own, **self.quiet))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the text that follows each context, the likeliest or a drawn one, as the request says."""
        answer = super().generate_until
        drawn = [request for request in requests if is_drawn(request)]
        others = [request for request in requests if not is_drawn(request)]
        texts = iter(self.shared(others, keys_of(others), lambda own, _: answer(own, **self.quiet)) if others else [])
        draws = iter(self.shared(drawn, numbered(keys_of(drawn)), self.draw) if drawn else [])
        return [next(draws if is_drawn(request) else texts) for request in requests]

    def draw(self, requests: Sequence[Instance], keys: Sequence[str]) -> list[str]:
        """Return a text for each request, drawn by itself from a seed of its key: batches and ranks decide nothing."""
        texts = []
        for request, key in zip(requests, keys, strict=True):
            torch.manual_seed(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest()))
            texts += super().generate_until([request], disable_tqdm=True)
        return texts

    def shared(self, requests: Sequence[Instance], keys: Sequence[str], answer: Answer) -> list[Any]:
        """Return an answer for each request, of which `answer` gives this rank's; equal keys have one answer.

        What has the same context stays together, since the harness computes some of it once. Contexts are dealt in the
        order of their lengths, so that all ranks have as much to do. Raises HeirloomError when the ranks do not have
        the same requests: their answers would be mixed up.
        """
        digest = hashlib.blake2b("\0".join(keys).encode(), digest_size=16).hexdigest()
        if len(set(gathered(digest))) > 1:
            raise HeirloomError(
                "lm_eval.tasks: the code of these tasks builds other questions at each start, so ranks cannot share "
                "them: seed what it draws"
            )
        first = {key: number for number, key in reversed([*enumerate(keys)])}
        contexts = sorted({requests[number].args[0] for number in first.values()}, key=lambda text: (-len(text), text))
        owners = {context: place % self.ranks.num_processes for place, context in enumerate(contexts)}
        own = sorted(n for n in first.values() if owners[requests[n].args[0]] == self.ranks.process_index)
        answers = answer([requests[number] for number in own], [keys[number] for number in own]) if own else []
        found = dict(pair for pairs in gathered([*zip(own, answers, strict=True)]) for pair in pairs)
        return [found[first[key]] for key in keys]


def keys_of(requests: Iterable[Instance]) -> list[str]:
    """Return what tells a request from all others: its context with its continuation, or how it is generated."""
    return [json.dumps(request.args, sort_keys=True, default=str) for request in requests]


def numbered(keys: Iterable[str]) -> list[str]:
    """Return the keys, each with how often it has come: what is asked several times is drawn as often."""
    seen: Counter[str] = Counter()
    return [f"{key} {seen.update([key]) or seen[key]}" for key in keys]


def is_drawn(request: Instance) -> bool:
    """Say whether a text is drawn, rather than the likeliest, as the harness decides it."""
    how = request.args[1]
    return how.get("do_sample") is True or (how.get("do_sample") is None and float(how.get("temperature") or 0) > 0)
