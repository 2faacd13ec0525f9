"""Make a project of your own: a repository beside this clone, with a config/ of its own, upgradable from this one.

    python3 scripts/new_project.py DIR --remote s3://BUCKET/PREFIX       (make new-project DIR=… REMOTE=…)

In:  this clone of Heirloom, as it is committed; where the project's artifacts go: an S3 prefix, a folder that all who
     work on it reach, or `none` for a folder of each user's own (docs/storage.md). On a terminal it is asked for.
Out: DIR, a git repository whose history goes on from this one's, so that `git merge upstream/main` brings later
     versions; its README, an example in config/, a check for CI. Nothing need be installed before.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from heirloom import stage
from heirloom.errors import HeirloomError

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = Path("workflow/project_template")
PROJECT_FILE = Path("config/project.yaml")
OWN_CONFIG = ("config/datasets/*.yaml", "config/models/*.yaml", "config/runs/*.yaml", "config/sweeps/*.yaml")
OF_THE_CLONE = ("dvc.lock", ".dvc/history.jsonl", *OWN_CONFIG)
"""What was made or written in this clone, and is no part of another project."""
NONE = "none"
PLACES = "s3://BUCKET/PREFIX, a folder that all who work on it reach, or none: a folder of each user's own"


def main() -> None:
    options = parse_arguments()
    folder = new_folder(options.folder)
    check_clone()
    remote = storage(options.remote if options.remote is not None else asked_for(), folder)
    commit, branch = git(ROOT, "rev-parse", "--short", "HEAD"), git(ROOT, "branch", "--show-current") or "main"
    if git(ROOT, "status", "--porcelain"):
        print("note: the new project has what is committed here; uncommitted changes stay behind", file=sys.stderr)
    there = folder.exists()
    try:
        make(folder, remote, branch)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there, or empty
        if there:
            folder.mkdir()
        raise
    print(f"made {folder} from Heirloom {commit}; artifacts go to {remote or 'a folder of each user’s own'}")
    print(f"next: cd {options.folder} && make setup && . .venv/bin/activate, then docs/tutorial.md")
    print("to share it: git remote add origin URL && git push -u origin main")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="where the project will be; nothing is there yet")
    parser.add_argument("--remote", metavar="PLACE", help=f"where artifacts go: {PLACES}")
    return parser.parse_args()


def new_folder(text: str) -> Path:
    """Return the absolute folder of the project. Raises HeirloomError where something is, and within this clone."""
    folder = Path(os.path.abspath(Path(text).expanduser()))
    if folder.is_relative_to(ROOT):
        raise HeirloomError(f"DIR: {folder} lies in this clone; name a folder beside it, e.g. ../{folder.name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HeirloomError(f"DIR: {folder} is there already, and not empty; name another folder")
    return folder


def check_clone() -> None:
    """Raise HeirloomError unless a project can be made of this clone."""
    if (ROOT / PROJECT_FILE).exists():
        raise HeirloomError(f"{PROJECT_FILE}: this is a project already; make another in a clone of Heirloom itself")
    top = git(ROOT, "rev-parse", "--show-toplevel", otherwise="")
    if not top or not Path(top).samefile(ROOT):
        raise HeirloomError(f"{ROOT} is no git clone of Heirloom, and upgrades need one: try it in a clone")
    git(ROOT, "var", "GIT_COMMITTER_IDENT")  # or its own sentence, that it does not know who you are


def asked_for() -> str:
    """Return where artifacts go, as somebody types it. Raises HeirloomError where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise HeirloomError(f"REMOTE: say where the project's artifacts go: {PLACES}")
    while not (answer := input(f"Where do artifacts go? {PLACES}\n> ").strip()):
        pass
    return answer


def storage(text: str, folder: Path) -> str | None:
    """Return the URL of the project's DVC remote, or None for a folder of each user's own. Raises HeirloomError."""
    if text == NONE:
        return None
    if not text.isprintable() or {'"', "'"} <= set(text) or not text.strip():
        raise HeirloomError(f"REMOTE: {text!r} is no place; expected {PLACES}")
    if "://" in text:
        scheme, _, rest = text.partition("://")
        if scheme != "s3" or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", rest):
            shown = re.sub(r"//[^/@]*@", "//…@", text)  # what stands before an @ may be a password
            raise HeirloomError(f"REMOTE: {shown} is no place that the workflow can reach; expected {PLACES}")
        return text
    place = Path(os.path.abspath(Path(text).expanduser()))
    if place.is_relative_to(folder):
        raise HeirloomError(f"REMOTE: {place} lies in the project itself; name a place outside of it")
    return str(place)


def make(folder: Path, remote: str | None, branch: str) -> None:
    """Clone this clone, put a project's own files in the place of what is of this one, and commit."""
    git(ROOT, "clone", "--quiet", "--origin", "upstream", str(ROOT), str(folder))
    git(folder, "remote", "set-url", "upstream", upstream_of_this_clone())
    git(folder, "checkout", "--quiet", "--no-track", "-B", "main")
    if branch != "main":
        git(folder, "branch", "--quiet", "-D", branch, otherwise="")  # of a detached clone there is none
    git(folder, "config", "--remove-section", "branch.main", otherwise="")  # `git push` asks where to
    git(folder, "rm", "-r", "--quiet", "--ignore-unmatch", *OF_THE_CLONE)
    shutil.copytree(folder / TEMPLATE, folder, dirs_exist_ok=True)
    stages = folder / "dvc.yaml"
    stages.write_text(without_runs(stages.read_text(encoding="utf-8")), encoding="utf-8")
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8").replace("PROJECT_NAME", folder.name).replace("UPSTREAM_BRANCH", branch)
    readme.write_text(text, encoding="utf-8")
    if remote is not None:
        name_remote(folder / ".dvc/config", remote)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", f"Begin {folder.name}")


def upstream_of_this_clone() -> str:
    """Return where this clone comes from; itself where it comes from nowhere."""
    url = git(ROOT, "remote", "get-url", "origin", otherwise="") or str(ROOT)
    return str((ROOT / url).resolve()) if (ROOT / url).exists() else url


def without_runs(text: str) -> str:
    """Return dvc.yaml as it is of a project without an enabled run: the stage that looks at config/ is left."""
    head, stages, body = text.partition("stages:\n")
    return head + stages + re.search(r"^  check-config:\n(?:    .*\n)*", body, re.MULTILINE)[0]


def name_remote(file: Path, url: str) -> None:
    """Put the remote before what Heirloom's file says: a line that Heirloom adds at its end is then no conflict."""
    quote = "'" if '"' in url else '"'
    remote = f"['remote \"storage\"']\n    url = {quote}{url}{quote}\n    verify = true\n"
    text = file.read_text(encoding="utf-8")
    file.write_text(remote + text.replace("[core]\n", "[core]\n    remote = storage\n", 1), encoding="utf-8")


def git(folder: Path, *words: str, otherwise: str | None = None) -> str:
    """Return what a git command prints in a folder. Raises HeirloomError when it fails and nothing stands otherwise."""
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    if done.returncode and otherwise is None:
        raise HeirloomError(f"git {words[0]} failed: {done.stderr.strip()}")
    return otherwise if done.returncode else done.stdout.strip()


if __name__ == "__main__":
    stage.run(main)
