"""vLLM's own OpenAI-compatible server for a run's checkpoint, at a socket in a folder that this user alone may enter.

It is in vLLM's environment, loads the checkpoint as `engine: vllm` does (an adapter is kept apart from its base), and
answers as the run does: greedily unless a request gives a temperature, with the run's end tokens, up to its
max_new_tokens, which no request may pass.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.vllm import server
from heirloom.inference.vllm.arguments import cache_on_cpu, engine_arguments, longest_conversation
from heirloom.inference.vllm.engine import devices
from heirloom.inference.vllm.environment import vllm_environment, vllm_variables
from heirloom.inference.vllm.process import reason_in
from heirloom.models.trained_checkpoints import is_adapter

AT_ONCE_ON_CPU = 4
"""Answers that a CPU's memory is kept for."""
NOT_FOR_SERVERS = ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_API_KEY")
"""Its server has the engine in a process of its own, and the token is asked for before it."""
PATIENCE = 10
"""Seconds that vLLM has to end its own processes in."""
LOGS = Path(".heirloom/serving")


@contextlib.contextmanager
def vllm_server(run: str, checkpoint: Path, answerer: Answerer, *, trusted: bool) -> Iterator[Path]:
    """Start vLLM's server and give the socket at which it answers; it ends with the block.

    `answerer`: of `load_for_vllm`; `trusted`: code that came with the model may be executed. Raises HeirloomError with
    vLLM's reason when it cannot serve.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{run}-{os.getpid()}.log"
    with tempfile.TemporaryDirectory(prefix="heirloom-serving-") as name, log.open("wb") as said:
        folder = Path(name)
        command = [vllm_environment() / "bin/python", "-P", Path(server.__file__).resolve()]
        command += flags(run, checkpoint, answerer, folder, trusted=trusted)
        cache = cache_on_cpu(answerer.model.config, longest_conversation(answerer), AT_ONCE_ON_CPU)
        gpus = [] if on_cpu() else devices(answerer.section.tensor_parallel_size or 1)
        variables = vllm_variables(os.environ, gpus, cache, batch_invariant=False)
        for name in NOT_FOR_SERVERS:
            variables.pop(name, None)
        variables["VLLM_RPC_BASE_PATH"] = str(folder)  # its own sockets, which ask for no token
        process = subprocess.Popen(
            list(map(str, command)), env=variables, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,  # Ctrl-C is for the program, which ends this one
        )  # fmt: skip
        ending = threading.Event()
        try:
            wait_until_it_answers(process, folder / "socket", log)
            threading.Thread(target=interrupt_with, args=(process, ending), daemon=True).start()
            yield folder / "socket"
        except KeyboardInterrupt:
            if process.poll() is not None:
                raise failure(process, log) from None
            raise
        finally:
            ending.set()
            end(process)


def interrupt_with(process: subprocess.Popen, ending: threading.Event) -> None:
    """End this program, as Ctrl-C does, where the process ends before it is to."""
    process.wait()
    if not ending.is_set():
        os.kill(os.getpid(), signal.SIGINT)


def end(process: subprocess.Popen) -> None:
    """End vLLM's server, and its engine, whatever interrupts it: the engine would keep the card's memory."""
    try:
        process.terminate()
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def flags(run: str, checkpoint: Path, answerer: Answerer, folder: Path, *, trusted: bool) -> list[str]:
    """Return the command line of vLLM's server; what it has to read besides is written into `folder`."""
    section = answerer.section
    defaults = {"eos_token_id": list(answerer.end_ids), "temperature": 0.0, "max_new_tokens": section.max_new_tokens}
    (folder / "generation_config.json").write_text(json.dumps(defaults), encoding="utf-8")
    arguments = engine_arguments(checkpoint, answerer.model.config, section, longest_conversation(answerer))
    arguments |= {"skip_tokenizer_init": False, "tokenizer": str(checkpoint), "generation_config": str(folder)}
    arguments |= {"uds": str(folder / "socket"), "served_model_name": run, "uvicorn_log_level": "warning"}
    if trusted:
        arguments["trust_remote_code"] = True
    if is_adapter(checkpoint):
        arguments |= {"served_model_name": f"{run}.base", "lora_modules": f"{run}={checkpoint.resolve()}"}
    return [word for name, value in arguments.items() for word in flag(name, value)]


def flag(name: str, value: Any) -> list[str]:
    """Return an argument of vLLM's as its command line has it."""
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{word}" if value else f"--no-{word}"]
    return [f"--{word}", str(value)]


def wait_until_it_answers(process: subprocess.Popen, socket: Path, log: Path) -> None:
    """Return once the server answers. Raises HeirloomError with its reason when it ends before."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://behind") as client:
        while process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/health").is_success:
                    return
            time.sleep(0.2)
    raise failure(process, log)


def failure(process: subprocess.Popen, log: Path) -> HeirloomError:
    """Return the error of a server that has ended, with the reason that its log tells, or how it ended."""
    told = reason_in(log.read_text(encoding="utf-8", errors="replace").splitlines())
    reason = told or f"exit code {process.returncode}"
    return HeirloomError(f"vLLM cannot serve the model ({reason}): {log} has all that it said")
