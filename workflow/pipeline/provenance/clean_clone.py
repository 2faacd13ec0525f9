"""A throwaway clone of this repository at one commit, with the data that one stage reads.

It has a cache of its own. Data comes from this clone's cache, which is only read, or from DVC's remotes; git's objects
are read where they are. Nothing that this clone has is written.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from heirloom.config.files import read_files
from heirloom.config.linked_files import pointer_of
from pipeline.dvc_project import cache_folder, dvc_repository, sentence
from pipeline.folder_objects import bring_list, is_hash
from pipeline.git import clone_of, environment_elsewhere
from pipeline.interpreter import interpreter_first_on_path
from pipeline.ledger import bytes_hash
from pipeline.paths import HISTORY

LENDER = "heirloom-lender"
"""DVC remote of the clone: the cache of the repository that it was cloned from."""
OF_THE_CALLER = ("HEIRLOOM_COMMIT", "HEIRLOOM_CONTROLLER", "HEIRLOOM_WORK_DIR", "DVC_STAGE", "DVC_ROOT")


class CleanClone:
    """The clone, in `folder`, which is made."""

    def __init__(self, commit: str, folder: Path) -> None:
        self.folder = clone_of(commit, folder)
        self.pins: dict[str, str] = {}
        """Variables that hold the stage's arithmetic to what a record tells."""
        self._words = [sys.executable, "-m", "dvc"]
        (self.folder / HISTORY).unlink(missing_ok=True)  # nothing may be restored from it
        self._borrow_remotes()

    def _borrow_remotes(self) -> None:
        """Give the clone the DVC remotes that this repository has now, and its cache as one more."""
        from dvc.config import Config

        here = Config(str(Path(".dvc").absolute())).read()
        with Config(str(self.folder / ".dvc")).edit("local") as settings:
            remotes = {**here["remote"], LENDER: {"url": str(cache_folder().absolute())}}
            settings["remote"] = {name: {**remote, "verify": True} for name, remote in remotes.items()}
            if "remote" in here["core"]:
                settings["core"]["remote"] = here["core"]["remote"]
            settings["cache"] = {"type": "reflink,hardlink,copy"}  # of its own cache: large inputs are there once

    def environment(self) -> dict[str, str]:
        """Return the environment of commands in the clone."""
        interpreter_first_on_path()
        kept = {name: value for name, value in environment_elsewhere().items() if name not in OF_THE_CALLER}
        own = {"DVC_SITE_CACHE_DIR": str(self.folder / ".dvc/tmp/site"), "DVC_NO_ANALYTICS": "1", "HEIRLOOM_FORCE": "1"}
        return kept | own | self.pins | {"PYTHONDONTWRITEBYTECODE": "1"}

    def dvc(self, *words: str) -> subprocess.CompletedProcess:
        """Run a DVC command to its end and return what it printed."""
        return subprocess.run(
            [*self._words, *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def digest_code(self) -> None:
        """Write the files that stand for the code of programs, which git does not have."""
        words = [sys.executable, "workflow/pipeline", "digest"]
        subprocess.run(words, cwd=self.folder, env=self.environment(), stdout=sys.stderr, check=False)

    def fetch(self, artifacts: Mapping[str, str]) -> list[str]:
        """Bring artifacts (path → DVC hash in the clone's dvc.lock); return those that are nowhere to be had."""
        missing = list(artifacts)
        for place in (LENDER, None):  # without a name: the default remote
            known = self._with_lists({path: artifacts[path] for path in missing}, place)
            if known:
                self.dvc("pull", "--quiet", *(["--remote", place] if place else []), *known)
                missing = [path for path in missing if bytes_hash(str(self.folder / path)) != artifacts[path]]
        return missing

    def _with_lists(self, artifacts: Mapping[str, str], remote: str | None) -> list[str]:
        """Return the artifacts that `dvc pull` may fetch: it believes a folder's list, so the true one comes before."""
        found = []
        with dvc_repository(folder=self.folder) as repo:
            for path, value in artifacts.items():
                try:
                    if not value.endswith(".dir") or bring_list(repo, value, remote):
                        found.append(path)
                except Exception as error:  # noqa: BLE001 - whatever a remote's client raises, another place may do
                    print(f"{path}: {sentence(error)}", file=sys.stderr)
        return found

    def own_data(self) -> dict[str, str]:
        """Return path → DVC hash of what config/ reads and the user's pointers (NAME.dvc) in git stand for.

        The whole config is checked before a stage runs, and what it names has to be there.
        """
        files = read_files(self.folder, None)
        sources = [
            file.source for file in (*files.datasets.values(), *files.models.values()) if file.source is not None
        ]
        pointers = {pointer_of(self.folder / source.local) for source in sources if source.local} - {None}
        found = {}
        for pointer in sorted(pointers):
            for out in YAML(typ="safe").load(pointer).get("outs", []):
                if is_hash(out.get("md5")):
                    found[str((pointer.parent / out["path"]).relative_to(self.folder))] = out["md5"]
        return found

    def copy_user_file(self, path: str) -> None:
        """Copy a file or folder of the user's that git does not have."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if Path(path).is_dir() else shutil.copy2)(path, target)

    def track_nothing(self, config: str) -> None:
        """Take the section `tracking`, which changes no result, out of a config file: no second run at a tracker,
        no second upload."""
        yaml = YAML()
        yaml.preserve_quotes = True
        sections = yaml.load(self.folder / config)
        if sections and sections.pop("tracking", None) is not None:
            yaml.dump(sections, self.folder / config)

    def execute(self, stage: str) -> int:
        """Execute a stage, whatever is recorded, and return DVC's exit status; its output goes to the terminal."""
        repro = ["repro", "--quiet", "--force", "--single-item", "--no-commit", "--no-run-cache", stage]
        process = subprocess.Popen(
            [*self._words, *repro], cwd=self.folder, env=self.environment(), start_new_session=True
        )
        try:
            return process.wait()
        except BaseException:
            for _ in range(2):  # launch.py ends at once when it is told twice
                os.killpg(process.pid, signal.SIGTERM)
                time.sleep(0.5)
            process.wait()
            raise
