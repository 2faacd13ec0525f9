"""The image, really built on Debian by the script of its users, and really run."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from workplace import Workplace

HARDENED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
OWNER = 10001
SECRET = "a-secret-that-must-not-get-into-the-image"
SHORTER = {
    "config/runs/demo-pretrain.yaml": {"max_steps: 450": "max_steps: 4", "warmup_steps: 20": "warmup_steps: 1"},
    "config/datasets/demo-text.yaml": {"rows: 20000": "rows: 2000"},
}
APPTAINER = """#!{python}
import os, subprocess, sys
from pathlib import Path
if sys.argv[1] == "--version":
    sys.exit(print("apptainer version 1.4.0"))
# [--quiet --silent] exec --home FOLDER [OPTIONS] IMAGE bash -c COMMAND
file, shell, _, command = sys.argv[-4:]
Path(file + ".used").touch()
here = os.getcwd()
sys.exit(subprocess.call([
    "podman", "run", "--rm", "--pid", "host", "--user", str(os.getuid()), *{options},
    "--tmpfs", "/tmp", "--volume", here + ":" + here, "--workdir", here,
    "--env", "HEIRLOOM_CONTROLLER", "--entrypoint", shell, Path(file).read_text(), "-c", command,
]))
"""
"""Podman in the place of Apptainer, which Debian does not have: same image, same command, same folder."""
TRAINED = ("checkpoints/demo-pretrain", "metrics/training/demo-pretrain.json", "metrics/loss/demo-pretrain.csv")
SLOW_STAGE = """\
import pathlib, signal, time
def save(*_):
    time.sleep(2)
    pathlib.Path("checkpoint").write_text("saved")
    raise SystemExit(3)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
time.sleep(120)
"""


@pytest.fixture(scope="module")
def image(workplace: Workplace, clone: Path) -> str:
    """The image for one's own machines, built from a clone in which secrets lie where people have them."""
    (clone / ".dvc/config.local").write_text(f"['remote \"storage\"']\n    secret_access_key = {SECRET}\n")
    (clone / ".heirloom").mkdir(exist_ok=True)
    (clone / ".heirloom/token").write_text(SECRET)
    workplace.make_base()
    workplace.environment["AWS_SECRET_ACCESS_KEY"] = SECRET
    return workplace.build(clone, "--target", "user")


def inspected(workplace: Workplace, image: str) -> dict:
    return json.loads(workplace.podman("image", "inspect", image))[0]


def test_the_tag_names_lock_and_commit_and_so_do_labels(workplace: Workplace, image: str, clone: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True)
    assert re.fullmatch(
        rf"localhost/heirloom:lock-[0-9a-f]{{12}}-commit-{commit.stdout[:12]}-user-args-[0-9a-f]{{8}}", image
    )
    facts = inspected(workplace, image)
    assert facts["Labels"]["org.opencontainers.image.revision"] == commit.stdout.strip()
    assert facts["Labels"]["io.heirloom.lock"] in image
    assert facts["User"] == f"{OWNER}:{OWNER}"


def test_sagemaker_gets_the_same_layers_and_root(workplace: Workplace, image: str, clone: Path) -> None:
    other = workplace.build(clone, "--target", "sagemaker")
    assert inspected(workplace, other)["User"] == "0:0"
    assert inspected(workplace, other)["RootFS"] == inspected(workplace, image)["RootFS"]
    assert workplace.podman("run", "--rm", "--network", "none", other, "id", "-u").strip() == "0"


def test_the_doctor_finds_the_locked_environment_without_root_and_without_a_writable_root(
    workplace: Workplace, image: str
) -> None:
    report = json.loads(
        workplace.podman("run", "--rm", *HARDENED, "--tmpfs", "/tmp", image, "doctor", "--json", "--offline")
    )
    found = {finding["subject"]: finding for finding in report["findings"]}
    assert report["healthy"], report
    assert found["packages"]["level"] == "ok" and found["packages"]["found"].startswith("all ")
    assert found["machine"]["found"].endswith("a container")
    assert "user" not in found
    facts = "import os; print(os.getuid(), os.access('/opt', os.W_OK), open('/proc/1/cmdline').read().split('\\0')[2])"
    printed = workplace.podman("run", "--rm", *HARDENED, image, "python", "-c", facts)
    assert printed.split() == [str(OWNER), "False", "/opt/heirloom/docker/entrypoint.py"]


def test_the_exit_code_is_the_commands(workplace: Workplace, image: str) -> None:
    workplace.podman("run", "--rm", "--network", "none", image, "sh", "-c", "exit 7", expect=7)


def test_the_plugins_of_the_repository_are_installed(workplace: Workplace, image: str, clone: Path) -> None:
    projects = [tomllib.loads(file.read_text())["project"] for file in clone.glob("workflow/plugins/*/pyproject.toml")]
    if not projects:
        pytest.skip("workflow/plugins holds none")
    for project in projects:
        ask = f"from importlib.metadata import version; print(version({project['name']!r}))"
        assert workplace.podman("run", "--rm", image, "python", "-c", ask).strip() == project["version"]
        module = project["name"].replace("-", "_")
        workplace.podman("run", "--rm", image, "python", "-c", f"import {module}")


def test_no_secret_is_in_any_layer(workplace: Workplace, image: str) -> None:
    assert SECRET not in json.dumps(inspected(workplace, image))
    with subprocess.Popen(
        ["podman", "save", "--quiet", image], env=workplace.environment, stdout=subprocess.PIPE
    ) as archive:
        found = subprocess.run(
            ["grep", "--count", "--text", "-e", SECRET, "-e", "portable_cxx.sh"], stdin=archive.stdout,
            capture_output=True, text=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, check=False,
        )  # fmt: skip
    assert archive.returncode == 0
    assert found.stdout.strip() == "0"  # nor anything of the stage that compiles


def test_sigterm_reaches_the_launcher_through_dvc(
    workplace: Workplace, image: str, clone: Path, tmp_path: Path
) -> None:
    shutil.copytree(clone / "scripts", tmp_path / "scripts")
    (tmp_path / "slow.py").write_text(SLOW_STAGE)
    (tmp_path / "dvc.yaml").write_text("stages: {slow: {cmd: python scripts/launch.py python slow.py}}\n")
    for words in (["git", "init", "-q"], [str(Path(sys.executable).parent / "dvc"), "init", "-q"]):
        subprocess.run(words, cwd=tmp_path, check=True)
    give_away(tmp_path)
    name = f"sigterm-{os.getpid()}"
    workplace.podman(
        "run", "--detach", "--name", name, *HARDENED, "--tmpfs", "/tmp", "--volume", f"{tmp_path}:/work", image,
        "dvc", "repro", "slow",
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline, workplace.podman("logs", name)
        time.sleep(0.2)
    workplace.podman("stop", "--time", "60", name)
    state = json.loads(workplace.podman("inspect", name))[0]["State"]
    logs = workplace.podman("logs", name)
    workplace.podman("rm", name)
    assert (tmp_path / "checkpoint").read_text() == "saved"
    assert state["ExitCode"] in (128 + 15, 255), logs  # by the signal, or DVC's own
    assert "SIGTERM: the program may take 110 s to end" in logs


def test_a_stage_of_the_demo_gives_the_same_bytes_inside(
    workplace: Workplace, image: str, clone: Path, tmp_path: Path
) -> None:
    """Outside by `dvc repro`, inside by `snakemake --sdm apptainer`, and what it stands on is copied."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    shutil.copytree(clone, outside, symlinks=True)
    (outside / ".dvc/config.local").unlink()
    shorten(outside)
    home = {"HOME": str(tmp_path), "DVC_SITE_CACHE_DIR": str(tmp_path / "dvc")}
    workplace.run(sys.executable, "workflow/pipeline", "write", cwd=outside, **home)
    workplace.run("dvc", "repro", "model-demo-tiny", "process-demo-text", cwd=outside, **home)
    shutil.copytree(outside, inside, symlinks=True)
    workplace.run("dvc", "repro", "--single-item", "train-demo-pretrain", cwd=outside, **home)

    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin/apptainer"
    stand_in.write_text(APPTAINER.format(python=sys.executable, options=HARDENED))
    stand_in.chmod(0o755)
    (tmp_path / "heirloom.sif").write_text(image)
    home["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{workplace.environment['PATH']}"
    settings = ("runs=demo-pretrain", f"image={tmp_path / 'heirloom.sif'}")
    printed = workplace.run("snakemake", "--sdm", "apptainer", "--config", *settings, cwd=inside, **home)
    assert re.search(r"run +train-demo-pretrain +never run", printed), printed
    assert (tmp_path / "heirloom.sif.used").exists(), printed

    compared = 0
    for artifact in TRAINED:
        path = outside / artifact
        files = [file for file in (path, *path.rglob("*")) if file.is_file()]
        for file in files:
            assert (inside / file.relative_to(outside)).read_bytes() == file.read_bytes(), file
            compared += 1
        assert len(list((inside / artifact).rglob("*"))) == len(list(path.rglob("*")))
    assert compared > 5
    ledgers = [YAML(typ="safe").load(folder / "dvc.lock")["stages"] for folder in (outside, inside)]
    assert ledgers[0]["train-demo-pretrain"] == ledgers[1]["train-demo-pretrain"]
    record = json.loads((inside / ".heirloom/records/train-demo-pretrain.json").read_text())
    assert record["versions"]["torch"] == version("torch")
    assert record["versions"]["python"] == workplace.podman("run", "--rm", image, "python", "-V").split()[1]


def shorten(folder: Path) -> None:
    """Let the demo's first training take four steps on few rows, and only its report follow it."""
    for name, edits in SHORTER.items():
        text = (folder / name).read_text()
        for old, new in edits.items():
            assert old in text, name
            text = text.replace(old, new)
        if name.startswith("config/runs"):
            text = re.sub(r"^(generation|evaluation):.*\n(  .*\n)*", "", text, flags=re.MULTILINE)
        (folder / name).write_text(text)


def give_away(folder: Path) -> None:
    """Make a folder belong to the image's user."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OWNER, OWNER, follow_symlinks=False)
