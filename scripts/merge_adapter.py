"""Write the whole model that an adapter's checkpoint stands for: its base, with the adapter merged into it.

    python scripts/merge_adapter.py checkpoints/llama3-orpo merged/llama3-orpo

In:  a checkpoint that is an adapter (`peft:` of a run without `merge: true`), and the base that it names.
Out: a folder that plain transformers loads without peft, with the tokenizer. The base is read file by file, so no more
     of it is in memory than the file that is being written.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.errors import HeirloomError
from heirloom.models.adapters.putting_together import write_whole_model
from heirloom.models.remote_code import trust
from heirloom.models.trained_checkpoints import is_adapter
from heirloom.stage_arguments import add_trust, output_path


def main() -> None:
    options = parse_arguments()
    if not is_adapter(options.checkpoint):
        raise HeirloomError(f"{options.checkpoint}: holds no adapter (no adapter_config.json); a whole model is merged")
    trust(options.trust_remote_code)
    with new_artifact(options.output) as partial:
        partial.mkdir()
        write_whole_model(options.checkpoint, partial)
    print(f"{options.output}: {options.checkpoint} with its base, as one model", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("checkpoint", type=Path, help="folder of an adapter, such as checkpoints/RUN")
    parser.add_argument("output", type=output_path, help="folder to write")
    add_trust(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
