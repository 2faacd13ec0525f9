"""What the command lines of stages share: the file of config/, its sections, and how a model is loaded."""

import argparse
from pathlib import Path


def stage_parser(description: str | None, config: str) -> argparse.ArgumentParser:
    """Return a parser that knows --config, which `config` describes, and --sections; the stage adds its own flags."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help=config)
    parser.add_argument(
        "--sections", type=lambda names: names.split(","), required=True, help="sections of it to read, a,b"
    )
    return parser


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust_remote_code, which the workflow gives where a run says so."""
    parser.add_argument(
        "--trust_remote_code",
        type=yes_or_no,
        default=False,
        metavar="true|false",
        help="run code that came with the model or its tokenizer; read it first",
    )


def add_attention(parser: argparse.ArgumentParser) -> None:
    """Add --attn_implementation, which the workflow gives where a run was trained so."""
    parser.add_argument("--attn_implementation", help="attention of the model; absent: as the section or transformers")


def yes_or_no(text: str) -> bool:
    """Return what a flag says. Raises argparse's error for anything but true and false."""
    known = {"true": True, "false": False, "1": True, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
    return known[text.lower()]
