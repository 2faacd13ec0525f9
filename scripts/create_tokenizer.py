"""Make the tokenizer of a model: trained on raw text, or taken from a source with a few changes.

    python scripts/launch.py python scripts/create_tokenizer.py --config config/demo/models/demo-tiny.yaml \\
        --sections tokenizer --raw data/raw/demo-text --output tokenizers/demo-tiny

In: the sections `tokenizer` (with `train_on`: the raw text in --raw) or `source`, and both for changes to a source's.
Out: a folder that `AutoTokenizer.from_pretrained` loads. The same text gives the same bytes.
"""

import argparse
import tempfile
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.source import ModelSource
from heirloom.config.sections.tokenizer import TokenizerSection
from heirloom.data.raw.training_text import raw_texts
from heirloom.models.fetching import TOKENIZER_FILES, fetch
from heirloom.models.remote_code import trust
from heirloom.models.tokenizer_changes import adapt_tokenizer, special_tokens, wrap_tokenizer
from heirloom.models.tokenizer_files import load_tokenizer, save_tokenizer
from heirloom.models.tokenizer_training import train_bpe
from heirloom.stage_arguments import add_trust, output_path, stage_parser


def main() -> None:
    args = parse_arguments()
    trust(args.trust_remote_code)
    section = read_section(args.config, "tokenizer", TokenizerSection, required="tokenizer" in args.sections)

    if section.train_on is not None:
        tokenizer = wrap_tokenizer(train_bpe(raw_texts(args.raw), section.vocab_size, special_tokens(section)))
    else:
        with tempfile.TemporaryDirectory() as fetched:
            fetch(read_section(args.config, "source", ModelSource), Path(fetched), TOKENIZER_FILES)
            tokenizer = load_tokenizer(Path(fetched))
    adapt_tokenizer(tokenizer, section)

    with new_artifact(args.output) as partial:
        save_tokenizer(tokenizer, partial)
    print(f"{args.output}: {len(tokenizer)} tokens, chat template: {'yes' if tokenizer.chat_template else 'no'}")


def parse_arguments() -> argparse.Namespace:
    parser = stage_parser(__doc__, config="a file of config/models/", sections=("source", "tokenizer"))
    parser.add_argument("--raw", type=Path, help="raw dataset to train on, with `text` in each row")
    parser.add_argument("--output", type=output_path, required=True, help="folder to write")
    add_trust(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
