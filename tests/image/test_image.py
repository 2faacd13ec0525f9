"""The image, really built on Debian by the script of its users, and really run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

import cloud
import pytest
from demo_clone import Demo
from demo_stage import TRAINED, DemoStage, put_apptainer_into
from ruamel.yaml import YAML
from running import BUCKET, Workflow, make_bucket, wait_until
from submitting import fill_in_profile
from training_jobs import ABANDONING, FACTS, LONG, PAIR, PLUGIN, SAVES_ITS_CHECKPOINT
from workplace import Workplace

HARDENED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
OWNER = 10001
SECRET = "a-secret-that-must-not-get-into-the-image"
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


@pytest.fixture(scope="module")
def stage(workplace: Workplace, image: str, clone: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoStage:
    """The demo's first training, made outside of the image."""
    return DemoStage.make(workplace, clone, tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def sagemaker_image(workplace: Workplace, image: str, clone: Path) -> str:
    """The image for SageMaker, of the same layers."""
    return workplace.build(clone, "--target", "sagemaker")


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


def test_sagemaker_gets_the_same_layers_and_root(workplace: Workplace, image: str, sagemaker_image: str) -> None:
    assert inspected(workplace, sagemaker_image)["User"] == "0:0"
    assert inspected(workplace, sagemaker_image)["RootFS"] == inspected(workplace, image)["RootFS"]
    assert workplace.podman("run", "--rm", "--network", "none", sagemaker_image, "id", "-u").strip() == "0"


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
    """But for those that .dockerignore leaves out: the display is for who types `snakemake`, and no job needs it."""
    left_out = (clone / ".dockerignore").read_text().splitlines()
    files = clone.glob("workflow/plugins/*/pyproject.toml")
    installed = [file for file in files if str(file.parent.relative_to(clone)) not in left_out]
    assert installed
    for project in (tomllib.loads(file.read_text())["project"] for file in installed):
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
    workplace: Workplace, image: str, stage: DemoStage, tmp_path: Path
) -> None:
    """Outside by `dvc repro`, inside by `snakemake --sdm apptainer`, and what it stands on is copied."""
    inside = stage.copy_inputs(tmp_path / "inside")
    put_apptainer_into(tmp_path / "bin", HARDENED)
    (tmp_path / "heirloom.sif").write_text(image)
    path = f"{tmp_path / 'bin'}{os.pathsep}{workplace.environment['PATH']}"
    settings = ("runs=demo-pretrain", f"image={tmp_path / 'heirloom.sif'}")
    printed = workplace.run(
        "snakemake", "--sdm", "apptainer", "--config", *settings, cwd=inside, **stage.home, PATH=path
    )
    trained = r"^run +(train-demo-pretrain|demo-pretrain: (\w+, )*train(, \w+)*) +never run"
    assert re.search(trained, printed, re.MULTILINE), printed
    assert (tmp_path / "heirloom.sif.used").exists(), printed

    stage.assert_same_artifacts(inside)
    ledgers = [YAML(typ="safe").load(folder / "dvc.lock")["stages"] for folder in (stage.outside, inside)]
    assert ledgers[0]["train-demo-pretrain"] == ledgers[1]["train-demo-pretrain"]
    record = json.loads((inside / ".heirloom/records/train-demo-pretrain.json").read_text())
    assert record["versions"]["torch"] == version("torch")
    assert record["versions"]["python"] == workplace.podman("run", "--rm", image, "python", "-V").split()[1]


# ---- SageMaker's hosts as containers of the image ----


@pytest.fixture
def loopback_options(workplace: Workplace, sagemaker_image: str, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Let the loopback SageMaker run its hosts from the image, by the workplace's podman."""
    for name, value in workplace.engine_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN / "src"))  # the controller's
    return {"container_image": sagemaker_image, "grace": 60}


def test_two_hosts_of_a_training_job_run_from_the_image(loopback, aws, tmp_path: Path) -> None:
    make_bucket(aws)
    workflow = Workflow(tmp_path / "work", PAIR)
    (workflow.folder / "facts.py").write_text(FACTS)
    code, output = workflow.run()
    assert code == 0, output
    facts = json.loads(workflow.text("facts.json"))
    assert facts["hosts"] == ["127.0.1.1", "127.0.1.2"]
    assert facts["python"] == "/opt/venv/bin/python" and facts["torch"] == version("torch")
    assert "-m snakemake_executor_plugin_sagemaker.container s3://" in facts["pid 1"]
    assert not facts["sees the submitting machine"]
    [name] = loopback.jobs
    assert "up on 127.0.1.2" in loopback.logs.text(name)


def test_a_stage_of_the_demo_gives_the_same_bytes_on_two_hosts_of_a_training_job(
    stage: DemoStage, loopback, aws, tmp_path: Path
) -> None:
    """Outside by `dvc repro` on one machine, inside by `snakemake --profile sagemaker` on two containers."""
    aws.client("s3").create_bucket(Bucket=cloud.BUCKET)
    inside = Demo(stage.copy_inputs(tmp_path / "inside"), stage.outside.parent)
    inside.environment |= stage.home | aws.variables | loopback.endpoint_variables
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        del inside.environment[name]  # /dev/null, which DVC takes for no file of settings
    run = inside.folder / "config/demo/runs/demo-pretrain.yaml"
    run.write_text(run.read_text() + "resources: {instance_count: 2}\n")
    inside.run(sys.executable, "workflow/pipeline", "write")
    fill_in_profile(inside.folder)
    inside.commit("on SageMaker")
    inside.run("dvc", "push", "model-demo-tiny", "process-demo-text")
    inside.run("snakemake", "--profile", "sagemaker", "--config", "runs=demo-pretrain", "here=report")

    [job] = loopback.jobs.values()
    assert job.instance_count == 2
    record = json.loads((inside.folder / ".heirloom/records/train-demo-pretrain.json").read_text())
    assert record["ranks"] == {"nodes": 2, "per_node": 1, "device": "cpu"}
    log = (inside.folder / "logs/train-demo-pretrain.log").read_text()
    assert re.match("doctor: machine: Linux .* a SageMaker job\n", log), log
    inside.run("dvc", "pull", *TRAINED)
    stage.assert_same_artifacts(inside.folder)


def test_a_training_job_that_is_stopped_saves_its_checkpoint(loopback, aws, tmp_path: Path) -> None:
    make_bucket(aws)
    workflow = Workflow(tmp_path / "work", LONG)
    (workflow.folder / "long.py").write_text(SAVES_ITS_CHECKPOINT)
    with workflow.running() as controller:
        wait_until(lambda: any("running" in loopback.logs.text(name) for name in loopback.jobs), "a job", 120)
        controller.send_signal(signal.SIGTERM)
        controller.wait(120)
    [name] = loopback.jobs
    assert loopback.wait(name)["TrainingJobStatus"] == "Stopped", loopback.logs.text(name)
    checkpoints = aws.objects(BUCKET, "project/checkpoints/")
    assert list(checkpoints.values()) == [b"saved"], loopback.logs.text(name)


def test_a_killed_loopback_leaves_no_container(workplace: Workplace, sagemaker_image: str) -> None:
    words = [sys.executable, "-c", ABANDONING, str(PLUGIN / "tests"), sagemaker_image]
    with subprocess.Popen(words, env=workplace.environment, stdout=subprocess.PIPE, text=True) as owner:
        folder = Path(owner.stdout.readline().strip())
        owner.kill()
    containers = ("ps", "--all", "--quiet", "--filter", f"name=^{folder.name}-")
    wait_until(lambda: not folder.exists() and not workplace.podman(*containers), "nothing to be left")


def give_away(folder: Path) -> None:
    """Make a folder belong to the image's user."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OWNER, OWNER, follow_symlinks=False)
