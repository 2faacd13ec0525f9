"""Make a base model: with fresh weights, or taken from a source.

    python scripts/launch.py python scripts/create_model.py --config config/demo/models/demo-tiny.yaml \\
        --sections init --tokenizer tokenizers/demo-tiny --output models/demo-tiny

In: the section `init` (a transformers configuration, seed, dtype) or `source`, and the model's tokenizer.
Out: a folder that `AutoModel….from_pretrained` and `AutoTokenizer.from_pretrained` load: config, safetensors and the
tokenizer's files. The same section gives the same bytes.
"""

import heirloom.rank  # first: it makes the imports quick

# isort: split
import argparse
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.init import InitSection
from heirloom.config.sections.source import ModelSource
from heirloom.json_files import write_json
from heirloom.models.fetching import MODEL_FILES, fetch
from heirloom.models.fresh_models import initialise_model, model_config
from heirloom.models.model_facts import FACTS
from heirloom.models.remote_code import trust
from heirloom.models.tokenizer_files import check_same_ids, copy_tokenizer, load_tokenizer
from heirloom.models.vocabulary import check_vocabulary, read_vocabulary_size
from heirloom.models.weights import SHARD
from heirloom.stage_arguments import add_trust, output_path, stage_parser


def main() -> None:
    args = parse_arguments()
    trust(args.trust_remote_code)
    heirloom.rank.imports_done()
    tokenizer = load_tokenizer(args.tokenizer)

    with new_artifact(args.output) as partial:
        if "init" in args.sections:
            section = read_section(args.config, "init", InitSection)
            model = initialise_model(model_config(section, tokenizer), section.seed)
            model.save_pretrained(partial, max_shard_size=SHARD)
            print(f"{args.output}: {model.num_parameters():,} parameters, {type(model).__name__}")
        else:
            source = read_section(args.config, "source", ModelSource)
            fetch(source, partial, MODEL_FILES)
            if source.hub:
                write_json(partial / FACTS, {"hub": [source.hub]})  # for the cards of what is trained from it
            print(f"{args.output}: fetched {len(list(partial.iterdir()))} files")
        check_vocabulary(len(tokenizer), read_vocabulary_size(partial), args.tokenizer, args.output)
        copy_tokenizer(args.tokenizer, partial)
        check_same_ids(tokenizer, args.tokenizer, partial)


def parse_arguments() -> argparse.Namespace:
    parser = stage_parser(__doc__, config="a file of config/models/", sections=("init", "source"))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the model's tokenizer")
    parser.add_argument("--output", type=output_path, required=True, help="folder to write")
    add_trust(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
