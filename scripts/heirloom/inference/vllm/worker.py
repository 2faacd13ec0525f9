"""vLLM in a process of its own, by the Python of its own environment: python worker.py

It reads lines of JSON from its standard input: first what the engine is to be (`engine`, the arguments of vllm.LLM, and
`adapter`, a folder or null), then batches of requests. It writes lines of JSON to its standard output:

    {"ready": {"vllm": "0.32.0", …}}                     the engine is loaded; versions of what computes
    {"name": 3, "tokens": […], "logprobs": […]}          a request is finished; nats, of the model's own distribution
    {"of": 5, "new": [271, 88]}                          tokens of a request with `stream`, as they are drawn
    {"of": 5, "ended": true}                             it is finished, or was stopped
    {"done": true}                                       all requests of a line are
    {"error": "ValueError: …"}                           it cannot go on, and ends

The line `{"stop": 5}` ends an answer that is streamed where it is. What libraries print goes to the standard error.
This module imports the standard library alone until it is a process: whoever starts it has another transformers than
vLLM wants.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from importlib.metadata import version
from typing import Any, TextIO

PR_SET_PDEATHSIG = 1
VERSIONS = ("torch", "transformers")


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
    waiting: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=read, args=(lines, waiting), daemon=True).start()
    while (requests := waiting.get()) is not None:
        if "stop" in requests:
            continue  # the answer had ended by itself
        if requests[0].get("stream"):
            stream(llm, adapter, requests[0], waiting, answers)
        else:
            answer(llm, adapter, requests, answers)
            say(answers, {"done": True})


def read(lines: TextIO, waiting: "queue.Queue[Any]") -> None:
    """Put what is asked into a queue, None at its end: a line may come while an answer is made."""
    for line in lines:
        waiting.put(json.loads(line))
    waiting.put(None)


def stream(
    llm: Any, adapter: str | None, request: dict[str, Any], waiting: "queue.Queue[Any]", answers: TextIO
) -> None:
    """Answer one request, token by token, until it is finished or what waits next says that it is to stop."""
    engine, number = llm.llm_engine, request["name"]
    add(engine, adapter, request)
    while engine.has_unfinished_requests():
        if not waiting.empty() and waiting.queue[0] == {"stop": number}:
            engine.abort_request([str(number)])
        for output in engine.step():
            say(answers, {"of": number, "new": list(output.outputs[0].token_ids)})
    say(answers, {"of": number, "ended": True})


def answer(llm: Any, adapter: str | None, requests: list[dict[str, Any]], answers: TextIO) -> None:
    """Answer `requests` together, each with `name`, `ids` and `sampling`; tell each as soon as it is finished."""
    engine = llm.llm_engine
    for request in requests:
        add(engine, adapter, request)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                (only,) = output.outputs
                logprobs = list(only.logprobs.logprobs)
                say(answers, {"name": int(output.request_id), "tokens": list(only.token_ids), "logprobs": logprobs})


def add(engine: Any, adapter: str | None, request: dict[str, Any]) -> None:
    """Let the engine begin with a request."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

    sampling = SamplingParams(
        **request["sampling"],
        ignore_eos=True,  # what ends an answer stands in stop_token_ids
        logprobs=0,  # of the chosen token alone
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA if request.get("stream") else RequestOutputKind.FINAL_ONLY,
    )
    lora = None if adapter is None else LoRARequest("adapter", 1, adapter)
    engine.add_request(str(request["name"]), {"prompt_token_ids": request["ids"]}, sampling, lora_request=lora)


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
