"""Records which lines of the project a stage's program executes. Python imports this by itself from $PYTHONPATH.

Environment: HEIRLOOM_RECORDED, the program, as its script is called; HEIRLOOM_RECORDED_BELOW, the folder whose files
count; HEIRLOOM_RECORDED_IN, the folder that gets {file: lines} as JSON, one file a process. Only processes whose
script is the program are recorded, so its ranks, and neither launch.py nor torchrun. Nothing has to be installed for
it, in whatever environment the program of an older commit runs. A process that is killed records nothing.
"""

import atexit
import json
import os
import sys
import threading

PROGRAM = os.environ.get("HEIRLOOM_RECORDED", "")
BELOW = os.environ.get("HEIRLOOM_RECORDED_BELOW", "")
FOLDER = os.environ.get("HEIRLOOM_RECORDED_IN", "")
RUNNERS = ("torchrun_here.py",)
"""Programs of ours that may run the script in their own process."""
executed: dict[str, set[int]] = {}
known: dict[str, set[int] | None] = {}
"""Name of a file as its code has it → its lines; None for one that does not count."""


def entered(frame, event, argument):
    """Have the lines of a function of the project told to us, and those of no other."""
    file = frame.f_code.co_filename
    if file not in known:
        full = os.path.realpath(file)  # a script's own name may be relative to the folder it was started in
        known[file] = executed.setdefault(full, set()) if full.startswith(BELOW) else None
    lines = known[file]
    if lines is None:
        return None

    def line(frame, event, argument):
        if event == "line":
            lines.add(frame.f_lineno)
        return line

    return line


def write() -> None:
    """Write what was executed."""
    sys.settrace(None)
    found = {file: sorted(lines) for file, lines in executed.items()}
    with open(os.path.join(FOLDER, f"{os.getpid()}.json"), "w", encoding="utf-8") as file:
        json.dump(found, file)


started = next((word for word in sys.orig_argv[1:] if word in ("-m", "-c") or not word.startswith("-")), "")
if PROGRAM and os.path.basename(started) in (os.path.basename(PROGRAM), *RUNNERS):
    atexit.register(write)
    threading.settrace(entered)
    sys.settrace(entered)
