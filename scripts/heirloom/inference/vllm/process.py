"""A process of vLLM, seen from the stage: requests go in, answers come out, errors are told in one sentence."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.inference.vllm import worker

ERROR_IN_LOG = re.compile(r"(?:^| ERROR .*?\] )((?:\w+\.)*\w*(?:Error|Exception): .+)")
"""As Python ends a trace, or as vLLM's own logger repeats it; of its warnings some tell traces without harm."""
POINTS_ELSEWHERE = re.compile(r"root cause|background process|EngineDeadError|cancelled", re.IGNORECASE)
"""In an error that is told where others wait for the process that failed."""

Answer = tuple[int, list[int], list[float]]
"""Name of the request, tokens of the answer, their log-probabilities (nats)."""


class VllmProcess:
    """A process that has loaded a model; it ends with the `with` block."""

    def __init__(
        self, python: Path, engine: dict[str, Any], adapter: Path | None, variables: Mapping[str, str], log: Path
    ) -> None:
        """Start the process and wait until it has loaded the model.

        `engine`: arguments of vllm.LLM; `log`: a file for all that vLLM says. Raises HeirloomError when it cannot.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.streams = log, 0
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [python, "-P", Path(worker.__file__).resolve()],  # its folder must not stand in for libraries
                env=dict(variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                encoding="utf-8",
            )
        try:
            self.send({"engine": engine, "adapter": adapter and str(adapter)})
            self.versions: dict[str, str] = self.receive()["ready"]
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> "VllmProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop the process, which has nothing to lose."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # of a line that it did not take any more
                pipe.close()

    def answers(self, requests: Sequence[dict[str, Any]]) -> Iterator[Answer]:
        """Yield each answer as soon as it is finished. Raises HeirloomError when the process cannot go on."""
        self.send(list(requests))
        while "done" not in (said := self.receive()):
            if "of" not in said:  # the rest of an answer that was left early
                yield said["name"], said["tokens"], said["logprobs"]

    def stream(self, request: dict[str, Any]) -> Iterator[list[int]]:
        """Yield the tokens of one answer as they are drawn; an iteration that is left early ends the answer.

        What still comes of that one is passed over by its number, so that nothing has to be waited for.
        """
        self.streams += 1
        number, ended = self.streams, False
        try:
            self.send([request | {"name": number, "stream": True}])
            while not ended:
                said = self.receive()
                if said.get("of") == number:
                    ended = "ended" in said
                    if not ended:
                        yield said["new"]
        finally:
            if not ended and self.process.poll() is None:
                self.send({"stop": number})

    def send(self, value: object) -> None:
        """Send a line. Raises HeirloomError when the process has ended."""
        try:
            self.process.stdin.write(json.dumps(value) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failure(None) from None

    def receive(self) -> dict[str, Any]:
        """Return the next line. Raises HeirloomError for an error that it tells, and when the process has ended."""
        try:
            said = json.loads(self.process.stdout.readline())
        except ValueError:  # cut short, or nothing: it has ended
            raise self.failure(None) from None
        if "error" in said:
            raise self.failure(said["error"])
        return said

    def failure(self, told: str | None) -> HeirloomError:
        """Return the error with the reason that the process told, or that its log tells, or how it ended."""
        if told is None or POINTS_ELSEWHERE.search(told):
            told = reason_in(self.log.read_text(encoding="utf-8", errors="replace").splitlines()) or told
        if told is None:
            code = self.process.wait()
            told = f"killed by signal {-code}, for want of memory?" if code < 0 else f"exit code {code}"
        return HeirloomError(f"generation.engine: vllm cannot go on ({told}): {self.log} has all that it said")


def reason_in(log: Iterable[str]) -> str | None:
    """Return the first error that the lines of a log tell and that does not point to another one; None without one."""
    found = (match[1] for match in map(ERROR_IN_LOG.search, log) if match)
    return next((line for line in found if not POINTS_ELSEWHERE.search(line)), None)
