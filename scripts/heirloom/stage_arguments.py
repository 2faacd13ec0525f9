"""The beginning of a stage's command line: its file of config/, and the sections of it that are its identity."""

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
