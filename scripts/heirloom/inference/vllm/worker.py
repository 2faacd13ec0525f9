"""vLLM in a process of its own, by the Python of its own environment: python worker.py

It reads lines of JSON from its standard input: first what the engine is to be (`engine`, the arguments of vllm.LLM, and
`adapter`, a folder or null), then batches of requests. It writes lines of JSON to its standard output:

    {"ready": {"vllm": "0.32.0", …}}                     the engine is loaded; versions of what computes
    {"name": 3, "tokens": […], "logprobs": […]}          a request is finished; nats, of the model's own distribution
    {"new": [271, 88]}                                   tokens of a request with `stream`, as they are drawn
    {"done": true}                                       all requests of a line are
    {"error": "ValueError: …"}                           it cannot go on, and ends

The line `{"stop": true}` ends an answer that is streamed where it is. What libraries print goes to the standard error.
This module imports the standard library alone until it is a process: whoever starts it has another transformers than
vLLM wants.
"""

import ctypes
import json
import os
import select
import signal
import sys
from importlib.metadata import version
from typing import Any, TextIO

PR_SET_PDEATHSIG = 1
VERSIONS = ("torch", "transformers")
STOP = {"stop": True}


def main() -> None:
    """Serve until the standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks, with whom this process ends
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints from now on
    try:
        serve(sys.stdin, answers)
    except Exception as error:
        say(answers, {"error": innermost(error)})
        raise


def serve(lines: TextIO, answers: TextIO) -> None:
    """Load the engine that the first line describes, and answer the requests of the others."""
    asked = json.loads(next(lines))
    from vllm import LLM

    adapter = asked["adapter"]
    llm = LLM(**asked["engine"])
    found = {"vllm": sys.modules["vllm"].__version__} | {name: version(name) for name in VERSIONS}
    say(answers, {"ready": found})
    for line in lines:
        requests = json.loads(line)
        if requests == STOP:
            continue  # the answer had ended by itself
        answer(llm, adapter, requests, lines, answers)
        say(answers, {"done": True})


def answer(llm: Any, adapter: str | None, requests: list[dict[str, Any]], lines: TextIO, answers: TextIO) -> None:
    """Answer `requests` together, each with `name`, `ids` and `sampling`; tell each as soon as it is finished.

    One with `stream` is alone, told token by token, and ends where the next of `lines` says so.
    """
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

    engine = llm.llm_engine
    lora = None if adapter is None else LoRARequest("adapter", 1, adapter)
    for request in requests:
        sampling = SamplingParams(
            **request["sampling"],
            ignore_eos=True,  # what ends an answer stands in stop_token_ids
            logprobs=0,  # of the chosen token alone
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if request.get("stream") else RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": request["ids"]}
        engine.add_request(str(request["name"]), prompt, sampling, lora_request=lora)
    streamed = [str(request["name"]) for request in requests if request.get("stream")]
    while engine.has_unfinished_requests():
        if streamed and select.select([lines], [], [], 0)[0] and json.loads(next(lines)) == STOP:
            engine.abort_request(streamed)
        for output in engine.step():
            if streamed:
                say(answers, {"new": list(output.outputs[0].token_ids)})
            elif output.finished:
                (only,) = output.outputs
                logprobs = list(only.logprobs.logprobs)
                say(answers, {"name": int(output.request_id), "tokens": list(only.token_ids), "logprobs": logprobs})


def say(answers: TextIO, value: dict[str, Any]) -> None:
    """Write a line at once."""
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def innermost(error: BaseException) -> str:
    """Return the kind and the words of the error that began it all, in one line."""
    seen: set[int] = set()
    while (cause := error.__cause__ or error.__context__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        error = cause
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    main()
