"""Kill the workflow again and again, and see whether anything has to be done by hand.

    python tests/contract/kill_campaign.py [--kills 300] [--seed 1]

An episode: a copy of a clone in which everything is made gets a new learning rate; an engine (snakemake, dvc repro, in
turn) is started and killed by SIGKILL at a random moment, one to three times, now the one process that the user sees,
now all of its group; then it is run to its end. Told is what was found of: hand work (the last run fails), half-made
(an artifact without all of its files), repeated (a recorded stage executed again), lost (the earlier result is not
there when its config returns), different bytes, left behind (partial files, work folders, processes). Counted besides
is how far the engine had come at each kill.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from clone import Clone, succeeded
from watched_processes import processes_in

ENGINES = {"snakemake": ["snakemake", "--nocolor"], "dvc": ["dvc", "repro"]}
STAGES = ("train-other", "report-other")
FILES = {"checkpoints/other": {"content.txt", "heirloom.json", "model.safetensors", "more.txt"}}
EDIT = ("learning_rate: 1e-5", "learning_rate: 1e-4")


@dataclass
class Campaign:
    """What is killed, and what was found so far."""

    made: Clone
    place: Path
    chance: random.Random
    longest: dict[str, float]
    """Engine → seconds within which it is killed: what it needs for one result when it begins as a user's does."""
    expected: dict[str, bytes | None]
    """What an execution that nobody kills makes."""
    kills: int = 0
    found: Counter = field(default_factory=Counter)
    moments: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def episode(self, number: int, engine: str, at_most: int) -> None:
        """Kill an engine up to `at_most` times on its way to one new result, then let it end."""
        clone = edited(self.made, self.place / f"episode-{number}", engine)
        clone.executed()
        executed: list[str] = []
        recorded: set[str] = set()
        for _ in range(min(at_most, self.chance.randint(1, 3))):
            killed = self.kill(clone, engine)
            executed += clone.executed()
            recorded |= self.after_kill(clone, number)
            if killed:
                self.moments[moment(set(executed), recorded)] += 1
        done = clone.run(*ENGINES[engine])
        again = clone.executed()
        if done.returncode:
            self.note("hand work", number, engine, done.stdout[-1500:] + done.stderr[-1500:])
        else:
            self.after_end(clone, number, engine, recorded & set(again))
        shutil.rmtree(clone.folder, ignore_errors=True)

    def kill(self, clone: Clone, engine: str) -> bool:
        """Start an engine and kill it at a random moment of the time that it needs; return whether it still ran."""
        process = clone.start(*ENGINES[engine])
        group = self.chance.random() < 0.5
        deadline = time.monotonic() + self.chance.uniform(0.1, self.longest[engine])
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        runs = process.poll() is None  # else it was quicker than the moment that was drawn
        if runs:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            self.kills += 1
        process.stdout.close()
        process.wait()
        for _ in range(200):  # what it started notices, and ends
            if not processes_in(clone.folder):
                return runs
            time.sleep(0.1)
        self.note("left behind", clone.folder.name, engine, f"processes {processes_in(clone.folder)}")
        return runs

    def after_kill(self, clone: Clone, number: int) -> set[str]:
        """Look for half-made artifacts; return the stages whose new result is recorded."""
        for artifact, files in FILES.items():
            folder = clone.folder / artifact
            if folder.exists() and {file.name for file in folder.iterdir()} != files:
                self.note("half-made", number, artifact, str(sorted(folder.iterdir())))
        planned = clone.pipeline("plan", "--stages")
        if planned.returncode:
            self.note("hand work", number, "plan", planned.stderr[-1500:])
        if "`make dvc.yaml` writes it anew" in planned.stdout:  # DVC was killed while it wrote dvc.lock
            succeeded(clone.pipeline("write"))
        return {stage for stage in STAGES if f" {stage} " not in planned.stdout} if not planned.returncode else set()

    def after_end(self, clone: Clone, number: int, engine: str, repeated: set[str]) -> None:
        """Compare what an episode ended with."""
        if repeated:
            self.note("repeated", number, engine, str(repeated))
        for path, content in contents(clone).items():
            if content != self.expected[path]:
                self.note("different bytes", number, engine, path)
        partial = [file for file in clone.folder.rglob(".*.partial") if ".git" not in file.parts]
        work = list((clone.folder / ".heirloom").glob("work/*"))
        if partial or work:
            self.note("left behind", number, engine, f"{partial} {work}")
        status = clone.dvc("status").stdout
        if "up to date" not in status or clone.plan():
            self.note("hand work", number, engine, status)
        clone.git("checkout", "-q", "config", "dvc.yaml")
        done = clone.run(*ENGINES["snakemake"])
        if done.returncode or clone.executed():
            self.note("lost", number, engine, done.stdout[-1500:])

    def told(self) -> str:
        moments = ", ".join(f"{count} {name}" for name, count in self.moments.most_common())
        return f"{dict(self.found) or 'nothing found'} ({moments})"

    def note(self, kind: str, *facts: object) -> None:
        self.found[kind] += 1
        self.notes.append(f"{kind}: {' · '.join(map(str, facts))}")
        print(self.notes[-1], flush=True)


def run(made: Clone, place: Path, kills: int, seed: int) -> Campaign:
    """Kill until there were so many."""
    campaign = Campaign(made, place, random.Random(seed), *undisturbed(made, place))
    number = 0
    while campaign.kills < kills:
        campaign.episode(number, list(ENGINES)[number % 2], kills - campaign.kills)
        number += 1
        print(f"{number} episodes, {campaign.kills} kills: {campaign.told()}", flush=True)
    return campaign


def moment(executed: set[str], recorded: set[str]) -> str:
    """Return how far an engine had come when it was killed."""
    if recorded >= set(STAGES):
        return "with all recorded"
    if recorded:
        return "while the report was made" if STAGES[1] in executed else "before the report"
    return "while it trained or recorded that" if STAGES[0] in executed else "before it trained"


def edited(made: Clone, folder: Path, engine: str) -> Clone:
    """Return a copy with a new learning rate, ready for an engine to make what follows from it."""
    clone = made.copy_to(folder)
    clone.edit("config/runs/other.yaml", *EDIT)
    if engine == "dvc":  # Snakemake does it itself
        succeeded(clone.pipeline("write"))
    return clone


def undisturbed(made: Clone, place: Path) -> tuple[dict[str, float], dict[str, bytes | None]]:
    """Return how long each engine needs for one result when nobody kills it, in seconds, and what it makes."""
    seconds = {}
    for engine, command in ENGINES.items():
        clone = edited(made, place / f"undisturbed-{engine}", engine)
        started = time.monotonic()
        process = clone.start(*command)  # from the beginning, as what is killed: half of it are imports
        said, _ = process.communicate()
        seconds[engine] = time.monotonic() - started
        assert process.returncode == 0, said
    return seconds, contents(clone)


def contents(clone: Clone) -> dict[str, bytes | None]:
    """Return path → bytes of what the edit makes anew."""
    paths = [f"{artifact}/{name}" for artifact, names in FILES.items() for name in sorted(names)]
    files = {path: clone.folder / path for path in [*paths, "metrics/training/other.json", "reports/other.html"]}
    return {path: file.read_bytes() if file.is_file() else None for path, file in files.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "home").mkdir()
        clone = Clone.create(place / "clone", place / "home")
        succeeded(clone.snakemake())
        clone.commit("made")
        campaign = run(clone, place, arguments.kills, arguments.seed)
    print(f"{campaign.kills} kills, seed {arguments.seed}: {campaign.told()}")
    return 1 if campaign.found else 0


if __name__ == "__main__":
    sys.exit(main())
