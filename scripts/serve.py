"""Serve a run's model to programs that speak OpenAI's API, on this machine, to whoever has the token.

    python scripts/serve.py polite                     # http://127.0.0.1:8000/v1; shows the token once; Ctrl-C ends it
    python scripts/serve.py polite --port 0            # at any port that is free
    python scripts/serve.py polite --engine vllm       # by vLLM (make setup-vllm), as it is anyway where that is

In:  the checkpoint of a run (whole, quantized, or an adapter with its base), with its chat template and the tokens that
     end the run's answers. Nothing is written but what vLLM says, to .heirloom/serving/.
Out: /v1/chat/completions, /v1/completions (both also as streams), /v1/models, /health. See docs/serving.md.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError, plain
from heirloom.failures import ends_in_one_sentence
from heirloom.inference.answers import Answerer
from heirloom.inference.vllm.engine import load_for_vllm
from heirloom.inference.vllm.environment import vllm_environment
from heirloom.models.language_models import is_encoder_decoder
from heirloom.models.remote_code import trust
from heirloom.models.trained_checkpoints import load_model, load_tokenizer
from heirloom.publishing.listening import listen, url_of
from heirloom.publishing.token_check import Application, TokenCheck, new_token
from heirloom.publishing.transformers_server import PATHS, application, check_installed
from heirloom.report.terminal_text import forgive_characters
from pipeline.upkeep import TrainedRun, trained_run

PATIENCE = 5
"""Seconds that answers have to end in after Ctrl-C."""


def main() -> None:
    forgive_characters()
    options = parse_arguments()
    os.chdir(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))  # so that what it began ends
    try:
        with ends_in_one_sentence(f"serving {options.run}"):
            trained = trained_run(options.run)
            with listen(options.host, options.port, options.allow_others) as listening:
                (ENGINES[options.engine] if options.engine else by_what_is_here)(trained, listening)
    except KeyboardInterrupt:
        print("\nstopped", flush=True)


def by_transformers(trained: TrainedRun, listening: socket.socket) -> None:
    """Load the model and answer by transformers' own server until Ctrl-C. Raises HeirloomError, before anything loads
    where the libraries are not installed.
    """
    check_installed()
    answerer = load(trained)
    served = application(trained.run.name, answerer.model, answerer.tokenizer, answerer.section.max_new_tokens)
    serve(served, trained, listening, answerer)


def by_vllm(trained: TrainedRun, listening: socket.socket) -> None:
    """Let vLLM's own server, in its environment, load the model, and hand requests on to it until Ctrl-C.

    Raises HeirloomError as `by_transformers` does, and where vLLM is not installed or cannot serve the model.
    """
    with ExitStack() as stack:
        served, answerer = begun_by_vllm(trained, stack)
        serve(served, trained, listening, answerer)


def by_what_is_here(trained: TrainedRun, listening: socket.socket) -> None:
    """Answer by vLLM where its environment is installed and it loads this model on this machine, else by transformers'
    server, with a word why.
    """
    try:
        vllm_environment()
    except HeirloomError:
        by_transformers(trained, listening)
        return
    with ExitStack() as stack:
        try:
            served, answerer = begun_by_vllm(trained, stack)
        except HeirloomError as error:
            print(f"transformers' server answers, for vLLM cannot: {plain(str(error))}", flush=True)
            by_transformers(trained, listening)
        else:
            serve(served, trained, listening, answerer)


def begun_by_vllm(trained: TrainedRun, stack: ExitStack) -> tuple[Application, Answerer]:
    """Begin vLLM's server, which ends with the stack, and return what hands requests on to it."""
    answerer = checked_for_vllm(trained)
    from heirloom.publishing.forwarding import Forwarding
    from heirloom.publishing.vllm_server import vllm_server

    print(f"vLLM loads {trained.checkpoint} …", flush=True)
    begun = vllm_server(trained.run.name, trained.checkpoint, answerer, trusted=trained.trust_remote_code)
    return Forwarding(stack.enter_context(begun)), answerer


ENGINES = {"transformers": by_transformers, "vllm": by_vllm}
"""What answers, by its name on the command line: each serves until Ctrl-C at a socket that listens already."""


def serve(served: Application, trained: TrainedRun, listening: socket.socket, answerer: Answerer) -> None:
    """Show the address and a new token, and answer whoever has it until Ctrl-C."""
    import uvicorn

    token = new_token()

    class Shown(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            show(trained, listening, token, answerer)  # not before: it answers, and Ctrl-C ends it

    config = uvicorn.Config(
        TokenCheck(served, token, PATHS), log_level="warning", timeout_graceful_shutdown=PATIENCE, server_header=False
    )
    Shown(config).run(sockets=[listening])


def checked_for_vllm(trained: TrainedRun) -> Answerer:
    """Return what vLLM is to load and how it answers. Raises HeirloomError for what it cannot, or by request alone."""
    check_installed()
    section = trained.run.generation or GenerationSection()
    if section.passed_through.get("stop_strings"):
        raise HeirloomError(
            f"{trained.run.path}: generation.stop_strings: vLLM's server takes them with each request (`stop`) and not "
            "for all: use --engine transformers"
        )
    kept = ("max_new_tokens", "eos_tokens", "default_dtype", "tensor_parallel_size")
    given = {name: value for name in kept if (value := getattr(section, name)) is not None}
    trust(trained.trust_remote_code)
    how = GenerationSection(engine="vllm", **given)
    return load_for_vllm(trained.checkpoint, how, PartialState(cpu=on_cpu()))


def load(trained: TrainedRun) -> Answerer:
    """Return the run's model as it answers: its generation config has the run's end tokens and nothing of sampling."""
    disable_progress_bar()  # of loading the weights
    trust(trained.trust_remote_code)
    section = trained.run.generation or GenerationSection()
    device = PartialState(cpu=on_cpu()).device
    model = load_model(trained.checkpoint, section.default_dtype, trained.attention, device)
    if is_encoder_decoder(model):
        raise HeirloomError(f"{trained.checkpoint}: turns sources into targets; served are models that go on with text")
    stops = {key: value for key, value in section.passed_through.items() if key == "stop_strings"}
    greedy = GenerationSection(max_new_tokens=section.max_new_tokens, eos_tokens=section.eos_tokens, **stops)
    answerer = Answerer(model, load_tokenizer(trained.checkpoint), greedy, device)
    model.generation_config = answerer.generation_config
    return answerer


def show(trained: TrainedRun, listening: socket.socket, token: str, answerer: Answerer) -> None:
    """Tell where the model is served and what it is asked with; the token is shown here and nowhere else."""
    url = url_of(listening)
    kind = "chat" if answerer.tokenizer.chat_template is not None else "text alone: it has no chat template"
    print(
        f"{trained.run.name} ({trained.checkpoint}, {kind}) at {url}/v1\n"
        f"token: {token}\n"
        f"  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={token}\n"
        "Ctrl-C ends it.",
        flush=True,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="of a file in config/runs/, without .yaml")
    parser.add_argument("--engine", choices=sorted(ENGINES), help="what answers; absent: vllm where it can")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; absent: this machine's alone")
    parser.add_argument("--port", type=port, default=8000, help="port to listen at; 0: any that is free")
    parser.add_argument("--allow-others", action="store_true", help="let --host be one that other machines reach")
    return parser.parse_args()


def port(text: str) -> int:
    """Return the number of a port. Raises argparse's error for anything else."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, not {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
