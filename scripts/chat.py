"""Talk to a checkpoint in the terminal, for a first impression.

    python scripts/chat.py checkpoints/demo-sft
    python scripts/chat.py checkpoints/demo-sft --temperature 0.7 --system "You are brief."

A model with a chat template sees the conversation so far; one without goes on with each text that it is given. Ctrl-C
ends an answer, /new begins anew, Ctrl-D or /exit leaves. Nothing is written.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import readline  # noqa: F401  input() then edits its line and remembers earlier ones
from pathlib import Path

from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from heirloom import stage
from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.conversation import Conversation
from heirloom.inference.engines import load_answerer
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_attention, add_trust

HELP = "Ctrl-C ends an answer, /new begins anew, /exit or Ctrl-D leaves."


def main() -> None:
    options = parse_arguments()
    trust(options.trust_remote_code)
    disable_progress_bar()  # of loading the weights
    answerer = load_answerer(options.checkpoint, how_to_answer(options), PartialState(cpu=on_cpu()))
    conversation = Conversation(answerer, options.system)
    print(f"{options.checkpoint}: {HELP}", flush=True)
    while (text := asked()) is not None:
        if text == "/new":
            conversation.begin()
        elif text.strip():
            try:
                conversation.answer(text)
            except HeirloomError as error:
                stage.tell(str(error))


def asked() -> str | None:
    """Return what the user types; None at the end."""
    try:
        text = input("> ")
    except (EOFError, KeyboardInterrupt):
        print()
        return None
    return None if text == "/exit" else text


def how_to_answer(options: argparse.Namespace) -> GenerationSection:
    """Return the options as a run's section `generation:` would say them."""
    drawn = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "seed": options.seed}
    return GenerationSection(
        max_new_tokens=options.max_new_tokens,
        test_batch_size=1,
        attn_implementation=options.attn_implementation,
        **(drawn if options.temperature > 0 else {}),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a model with its tokenizer")
    parser.add_argument("--system", help="system message that every conversation begins with")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="longest answer, tokens")
    parser.add_argument("--temperature", type=float, default=0, help="0: always the likeliest token; above: drawn")
    parser.add_argument("--top_p", type=float, default=1, help="only the likeliest tokens that sum to this probability")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    add_trust(parser)
    add_attention(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
