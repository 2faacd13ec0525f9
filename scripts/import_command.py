"""Make files of config/ from the commands of the tool that Heirloom replaces.

    python scripts/import_command.py launch_rlhf.sh
    python scripts/import_command.py make_data.sh launch.sh --name my-run --show
    … | python scripts/import_command.py -

In:  shell scripts with `launch.py …` and `create_dataset.py …` commands, as they are: continued lines, comments in
     backticks, variables that the script sets. A create_dataset.py command beside the launch.py command that reads what
     it makes says where the rows come from.
Out: config/runs/, config/datasets/ and config/models/ files. Each flag stands in them once as a comment: kept, renamed,
     default, or dropped with the reason; what cannot be known is a `# TODO` line, named at the end. A credential's
     value is written nowhere. Nothing that exists is overwritten. docs/migrating.md has the whole map.
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import argparse
import io
import sys
from pathlib import Path

from ruamel.yaml import YAML

from heirloom import stage
from heirloom.errors import HeirloomError, plain
from heirloom.migration.commands import commands_in
from heirloom.migration.imported_files import imported

REPOSITORY = Path(__file__).resolve().parent.parent
SCHEMAS = {"runs": "run", "datasets": "dataset", "models": "model"}


def main() -> None:
    options = parse_arguments()
    commands = []
    for script in options.scripts:
        text = sys.stdin.read() if script == "-" else read_script(Path(script))
        commands += commands_in(text, script)
    files, accounts = imported(commands, options.name)
    texts = {path: text_of(path, value, accounts) for path, value in sorted(files.items())}
    if options.show:
        for path, text in texts.items():
            print(f"==> {path}\n{plain(text)}")
    else:
        write(options.root, texts)
        print("\n".join(f"wrote {path}" for path in texts))
    for path, account in accounts.items():
        for fate in account.fates.values():
            if fate.how in ("dropped", "TODO"):
                print(plain(f"{path}: --{fate.flag}: {fate.how}, {fate.words}"))
    todo = [f"{path}: {words}" for path, account in accounts.items() for words in account.todo]
    print(plain("\n".join(f"TODO {words}" for words in todo)) or "nothing is left to decide")
    if not options.show:
        print("now: snakemake -n")


def read_script(path: Path) -> str:
    """Return a script's text. Raises HeirloomError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HeirloomError(f"{path}: cannot be read ({error}): give a shell script, or - for standard input") from None


def text_of(path: str, value: dict, accounts: dict) -> str:
    """Return the text of a file: the schema's line, the flags that it came from, the keys."""
    kind = Path(path).parent.name
    buffer = io.StringIO()
    yaml = YAML()
    yaml.width = 100
    yaml.dump(value, buffer)
    lines = [f"# yaml-language-server: $schema=../../workflow/schemas/{SCHEMAS[kind]}.schema.json"]
    if path in accounts:
        lines += ["# Imported from a command; what became of each of its flags:", *accounts[path].lines()]
    return "\n".join(lines) + "\n" + buffer.getvalue()


def write(root: Path, texts: dict[str, str]) -> None:
    """Write the files. Raises HeirloomError, before it writes any, when one exists with another content."""
    clash = [
        path
        for path, text in texts.items()
        if (root / path).exists() and (root / path).read_text(encoding="utf-8") != text
    ]
    if clash:
        raise HeirloomError(f"{', '.join(clash)}: exists already: give another --name, or move that file away")
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="+", metavar="SCRIPT", help="shell scripts, or - for standard input")
    parser.add_argument("--name", help="name of the run; absent: the command's --job_prefix")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="folder that holds config/; absent: this clone")
    parser.add_argument("--show", action="store_true", help="print the files instead of writing them")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
