"""What a training stage costs besides its steps: CPU seconds of train, SFT and DPO of two steps each, by phase.

    python benchmarks/training_start.py

Runs the real scripts under the launcher on two CPU ranks with a model of 20,000 parameters. CPU seconds, because they
say the same on a busy machine; on two idle cores a stage takes about (launcher and torchrun) + one rank of wall time.
"""

import json
import re
import resource
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "training"), str(ROOT / "scripts")]

MEASURED = """
import os, runpy, sys, time
sys.path.insert(0, {scripts!r})
marks = [("python", time.process_time())]
import {name}
marks.append(("imports", time.process_time()))
from heirloom.training.callbacks.loss_history import LossHistory
log = LossHistory.on_log
def on_log(self, args, state, control, **kwargs):
    if state.global_step in (0, 2) and len(marks) < 4:
        marks.append((("set-up", "steps")[state.global_step > 0], time.process_time()))
    return log(self, args, state, control, **kwargs)
LossHistory.on_log = on_log
{name}.main()
marks.append(("saving", time.process_time()))
if os.environ["RANK"] == "0":
    times = [end - begin for (_, begin), (_, end) in zip(marks, marks[1:])]
    print("PHASES", *(f"{{phase}}={{seconds:.2f}}" for (phase, _), seconds in zip(marks[1:], times)), flush=True)
"""


def main() -> None:
    from training_workplace import RUNS, TRAINING, make_workplace

    with tempfile.TemporaryDirectory() as folder:
        place = make_workplace(Path(folder))
        for name, (script, dataset, _) in RUNS.items():
            program = Path(folder) / f"measured_{script}"
            program.write_text(MEASURED.format(scripts=str(ROOT / "scripts"), name=script.removesuffix(".py")))
            two_steps = {**TRAINING, "max_steps": 2}
            command = place.training(script, name, dataset=dataset, base="model", training=two_steps)
            command[1] = str(program)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            output = place.launch(*command).stdout
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            seconds = json.loads(
                (Path(folder) / ".heirloom/records" / f"measured_{script[:-3]}-checkpoint.json").read_text()
            )
            phases = re.search(r"PHASES (.*)", output)[1]
            print(f"{name:9} CPU {total:5.1f} s in all; one rank: {phases}; wall {seconds['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
