"""Run several of the project's programs in one process, for tests: `python programs_in_turn.py COMMANDS.json`.

Each command is [script, argument, …]. Importing the libraries once takes less time than most of these programs.
"""

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
COMMANDS = json.loads(Path(sys.argv[1]).read_text())

if __name__ == "__main__":
    for command in COMMANDS:
        sys.argv = command
        importlib.import_module(Path(command[0]).stem).main()
