"""Talk to a checkpoint in the terminal, for a first impression.

    python scripts/chat.py checkpoints/demo-sft
    python scripts/chat.py checkpoints/demo-sft --temperature 0.7 --system "You are brief."
    python scripts/chat.py checkpoints/mine --engine vllm          # make setup-vllm before

A model with a chat template sees the conversation so far; one without goes on with each text that it is given. Ctrl-C
ends an answer, /new begins anew, Ctrl-D or /exit leaves. Nothing is written.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import readline  # input() then edits its line and remembers earlier ones
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import PartialState
from pydantic import ValidationError
from transformers import TextStreamer
from transformers.utils.logging import disable_progress_bar

from heirloom import stage
from heirloom.config.parsing.mistakes import explain
from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.conversation import Conversation
from heirloom.inference.engines import load_answerer
from heirloom.inference.prompts import Prompt
from heirloom.models.remote_code import trust
from heirloom.report.terminal_text import forgive_characters
from heirloom.stage_arguments import add_attention, add_trust

PASTED_WHOLE = "set enable-bracketed-paste on"  # Python switches it off: each pasted line would be asked by itself
HELP = "Ctrl-C ends an answer, /new begins anew, /exit or Ctrl-D leaves."


def main() -> None:
    options = parse_arguments()
    forgive_characters()
    sys.stdin.reconfigure(errors="surrogateescape")
    readline.parse_and_bind(PASTED_WHOLE)
    trust(options.trust_remote_code)
    disable_progress_bar()  # of loading the weights
    try:
        with ENGINES[options.engine](options.checkpoint, how_to_answer(options)) as (answerer, stream):
            talk(Conversation(answerer, options.system, stream), f"{options.checkpoint}: {HELP}")
    except KeyboardInterrupt:  # while the model is loaded
        print()


Loaded = tuple[Answerer, Callable[[Prompt, TextStreamer], None] | None]
"""What Conversation takes: who answers, and how where it is another process that does."""


@contextmanager
def by_transformers(checkpoint: Path, section: GenerationSection) -> Iterator[Loaded]:
    """Load the model into this process."""
    yield load_answerer(checkpoint, section, PartialState(cpu=on_cpu())), None


@contextmanager
def by_vllm(checkpoint: Path, section: GenerationSection) -> Iterator[Loaded]:
    """Let vLLM load the model, in its environment. Raises HeirloomError where it is not installed, or cannot."""
    from heirloom.inference.vllm.engine import load_for_vllm
    from heirloom.inference.vllm.talk import talking

    answerer = load_for_vllm(checkpoint, section, PartialState(cpu=on_cpu()))
    print(f"vLLM loads {checkpoint} …", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="heirloom-chat-"))
    try:
        with talking(checkpoint, answerer, folder / "vllm.log") as stream:
            yield answerer, stream
    except HeirloomError:
        raise  # what vLLM said stays, where it could not go on
    except BaseException:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


ENGINES = {"accelerate": by_transformers, "vllm": by_vllm}
"""What answers, by its name in a run's `generation.engine`."""


def talk(conversation: Conversation, greeting: str) -> None:
    """Answer what the user types until the end."""
    print(greeting, flush=True)
    while (text := asked()) is not None:
        if text == "/new":
            conversation.begin()
        elif text.strip():
            try:
                conversation.answer(text)
            except HeirloomError as error:
                stage.tell(str(error))


def asked() -> str | None:
    """Return what the user types; None at the end. Ctrl-C, which may come just after an answer has ended, asks anew."""
    while True:
        try:
            text = input("> ")
            text.encode()
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return None
        except UnicodeEncodeError:
            stage.tell("what was typed is no UTF-8 text: give it with that encoding")
        else:
            return None if text == "/exit" else text


def how_to_answer(options: argparse.Namespace) -> GenerationSection:
    """Return the options as a run's section `generation:` would say them. Raises HeirloomError as its checks do."""
    named = ("max_new_tokens", "temperature", "top_p", "top_k", "seed", "attn_implementation")
    given = {name: value for name in named if (value := getattr(options, name)) is not None}
    if given.get("temperature") == 0:
        del given["temperature"]
    sampled = {"do_sample": True} if "temperature" in given else {}
    engine = {"test_batch_size": 1} if options.engine == "accelerate" else {"engine": options.engine}
    try:
        return GenerationSection.model_validate({**given, **sampled, **engine})
    except ValidationError as error:
        told = [f"--{keys[0]}: {problem}" for keys, problem in explain(error, GenerationSection, given)]
        raise HeirloomError("; ".join(told).replace("do_sample: true", "--temperature")) from None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a model with its tokenizer")
    parser.add_argument("--system", help="system message that every conversation begins with")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="longest answer, tokens")
    parser.add_argument("--temperature", type=float, help="above 0: draw the tokens; absent: always the likeliest")
    parser.add_argument("--top_p", type=float, help="draw from the likeliest tokens that sum to this probability")
    parser.add_argument("--top_k", type=int, help="draw from the k likeliest tokens; 0: from all; absent: 50")
    parser.add_argument("--seed", type=int, help="of the draws")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="accelerate", help="as generation.engine of a run")
    add_trust(parser)
    add_attention(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
