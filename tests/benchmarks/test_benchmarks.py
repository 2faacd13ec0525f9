"""Every benchmark runs, as small as it can be, and leaves a result of the form that benchmarks/measuring.py describes.

No figure is judged: they only have to be there. gpu_training.py and gpu_smoke.py have tests of their own.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm_start import OF_STAGES, WarmStart, warm_programs, warm_workflow

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
WITHOUT_GPU = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
"""With a GPU some benchmarks measure models that fill it."""
MACHINE = {"cpu", "cores", "memory_gb", "load_before", "python"}
OTHER_FACTS = {"engine", "vendor"}
"""What some results say of the machine besides."""
sys.path += [str(ROOT / "tests" / folder) for folder in ("image", "slurm")]


@pytest.fixture(scope="module", autouse=True)
def recorded_results() -> Iterator[None]:
    """What was measured once stays as it is."""

    def content() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in RESULTS.iterdir()}

    before = content()
    yield
    assert content() == before


@pytest.fixture(scope="module")
def warm() -> WarmStart:
    return warm_programs().under(WITHOUT_GPU)


@pytest.fixture
def result_of(tmp_path: Path):
    """Make a function that runs a benchmark and returns its result; `warm` starts one that needs torch sooner.

    With `ranks` its ranks begin warm as well, and with `nested` all programs that it starts: where what is measured is
    not how they begin, nor how much memory they take.
    """

    def run(name: str, *options: str, warm: WarmStart | None = None, ranks: bool = False, nested: bool = False) -> dict:
        program, output, log = BENCHMARKS / f"{name}.py", tmp_path / "result.json", tmp_path / "log"
        options = [*options, "--output", str(output)]
        if warm:
            more = {"PYTHON_EXEC": str(warm.programs / "python")} if ranks else {}
            code = warm.run(program, options, log, **more)
        else:
            python = warm_workflow(*OF_STAGES) / "python" if nested else Path(sys.executable)
            variables = {**WITHOUT_GPU, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
            with log.open("wb") as file:
                command = [str(python), str(program), *options]
                code = subprocess.run(command, env=variables, stdout=file, stderr=file, check=False).returncode
        assert code == 0, log.read_text()[-8000:]
        result = json.loads(output.read_text())
        facts = result["machine"]
        assert facts.keys() >= MACHINE and facts["cpu"] and facts["cores"] == os.cpu_count()
        packages = facts.keys() - MACHINE - OTHER_FACTS
        assert {name: facts[name] for name in packages} == {name: importlib.metadata.version(name) for name in packages}
        return result

    return run


def measured(part: dict | list | float) -> list[float]:
    """Return all figures in a part of a result; fail when there is none, or one is no positive number."""
    found, parts = [], [part]
    while parts:
        part = parts.pop()
        if isinstance(part, dict | list):
            parts += part.values() if isinstance(part, dict) else part
        else:
            assert isinstance(part, int | float) and not isinstance(part, bool) and part > 0, part
            found.append(part)
    assert found
    return found


COST = {"cpu_s", "wall_s", "peak_mb", "executions"}


def test_config_load(result_of):
    result = result_of("config_load", "--runs", "3", "--executions", "1")
    rows = result["check of the configuration"]["3 runs"]
    assert {name: row.keys() for name, row in rows.items()} == dict.fromkeys(
        ("no cache", "cold cache", "warm cache"), COST
    )
    measured(rows)


def test_library_bytecode(result_of):
    result = result_of("library_bytecode", "--only", "dvc status", "--executions", "1")
    made, none = result["start"]["dvc status"].values()
    assert made.keys() == none.keys() == COST
    measured(result["start"])


def test_installed_libraries_have_their_bytecode():
    """Without it each process in the image compiles what it imports: 11 of 21 CPU seconds of a rank's imports."""
    import dvc
    import snakemake
    import transformers

    for library in (dvc, snakemake, transformers):
        source = Path(library.__file__).with_name("__init__.py")
        assert Path(importlib.util.cache_from_source(str(source))).is_file()


def test_data_speed(result_of):
    one_long = ("--messages", "4", "--document-mb", "0.01", "--documents", "emoji")
    result = result_of("data_speed", "--rows", "25", "--trl-rows", "5", "--executions", "1", *one_long, nested=True)
    for name in ("long_rows", "short_rows"):
        rows = result[name]
        assert rows["medians"].keys() == rows["runs"].keys() == {"bare", "ours", "TRL", "axolotl_like"}
        assert rows["medians"]["bare"]["tokens"] == rows["medians"]["ours"]["tokens"]
        assert rows["medians"]["TRL"]["tokens"] == rows["medians"]["axolotl_like"]["tokens"]
        for figure in ("peak_memory_of_ours_mb", "cpu_of_ours_to_bare"):
            measured(rows[figure])
    assert result["one_chat_cpu_s"]["4"].keys() == {"bare", "ours", "axolotl_like"}
    measured(result["one_document"]["emoji"]["cpu_s"])


def test_inference_speed(result_of, warm):
    small = ("--executions", "1", "--ranks", "1", "--prompts", "2", "--new-tokens", "2")
    result = result_of("inference_speed", "--only", "bare,continuous", *small, warm=warm, ranks=True)
    assert result["medians"].keys() == {"bare-1", "continuous-1"}
    figures = {"tokens", "tokens_per_s", "tokens_per_cpu_s", "peak_memory_mb"}
    assert all(row.keys() >= figures for row in result["medians"].values())
    measured(result["medians"])
    assert result["claims"]["engine_times_bare"]["measured"].keys() == {"continuous-1"}


def test_merge_memory(result_of, warm):
    result = result_of("merge_memory", "--layers", "4", "--file-mb", "10", "--executions", "1", warm=warm)
    ours, upstream = result["merge"].values()
    assert ours["peak_mb"] < upstream["peak_mb"]
    measured(result["merge"])


def test_adapter_checkpoints(result_of, warm):
    result = result_of("adapter_checkpoints", "--layers", "1", "--executions", "1", warm=warm)
    alone, merged = result["checkpoint"].values()
    assert alone["bytes"] < merged["bytes"] / 10
    measured(result["checkpoint"])


def test_flip_rates(result_of):
    small = ("--types", "float32", "--batches", "2", "--limit", "2", "--new-tokens", "2")
    result = result_of("flip_rates", *small, nested=True)
    assert result["answers_that_differ"] == {"float32": {"batches of 2": 0}}


def test_plan_scale(result_of):
    result = result_of("plan_scale", "--runs", "1", "--executions", "1", nested=True)
    rows = result["nothing to do"]["1 runs"]
    assert {name: row.keys() for name, row in rows.items()} == dict.fromkeys(
        ("snakemake -n", "ledger alone", "dvc status", "dvc repro"), COST
    )
    measured(rows)


def test_sweep_scale(result_of):
    rows = result_of("sweep_scale", "--runs", "2", "--executions", "1", nested=True)["2 runs"]
    parts = ("anew", "nothing to do", "everything to do")
    assert rows.keys() == {f"{form}, {part}" for form in ("one sweep", "a file each") for part in parts}
    measured(rows)


def test_training_speed(result_of, warm):
    result = result_of("training_speed", "--steps", "6", "--only", "optim", warm=warm, ranks=True)
    assert result["settings"].keys() == {"optim=adamw_torch"}
    assert result["settings"]["optim=adamw_torch"].keys() == {"tokens_per_s", "tokens_per_cpu_s", "parameters"}
    measured(result["settings"])


def test_training_peers(result_of):
    result = result_of("training_peers", "--methods", "characters", "--steps", "6", "--executions", "1", nested=True)
    assert result["steps_per_cpu_s"].keys() == {"characters"}
    assert result["steps_per_cpu_s"]["characters"].keys() == {"ours", "theirs", "ratio", "ratios", "start_cpu_s"}
    measured(result["steps_per_cpu_s"])


def test_reference_scores(result_of, warm):
    small = ("--layers", "1", "--hidden-size", "64", "--steps", "2", "--executions", "1")
    result = result_of("reference_scores", *small, warm=warm, ranks=True)
    ways = ("stage", "inline", "scores", "one_step")
    assert all(result[way].keys() == COST for way in ways)
    measured([result[way] for way in ways])


def test_packed_rows(result_of, warm):
    result = result_of("packed_rows", "--rows", "300", "--executions", "1", warm=warm, ranks=True)
    ways = ("stage", "at_start", "packed")
    assert all(result[way].keys() == COST for way in ways)
    measured([result[way] for way in ways])


def test_training_start(result_of, warm):
    result = result_of("training_start", "--only", "sft", warm=warm)
    assert result["trainings"].keys() == {"sft"}
    assert result["trainings"]["sft"].keys() == {"cpu_s", "wall_s", "cpu_s_of_a_rank"}
    assert result["trainings"]["sft"]["cpu_s_of_a_rank"].keys() == {"imports", "set-up", "steps", "saving"}
    measured(result["trainings"])


def test_sagemaker_job(result_of):
    result = result_of("sagemaker_job", "--executions", "1", "--rules", "1", "--until", "download")
    counts = {name: len(seconds) for name, seconds in result["seconds"].items()}
    assert counts == {"rule with echo": 1, "stage of the workflow": 1, "snakemake -n": 1}
    measured(result["seconds"])
    assert result["claims"].keys() == {"rule with echo", "stage of the workflow"}


def test_checkpoint_transfer(result_of):
    result = result_of("checkpoint_transfer", "--shards", "2", "--shard-mb", "0.2", "--seconds", "0.5")
    measured(result["ways"])
    assert result["ways"].keys() == {"dvc", "plain"}
    assert len(result["claims"]) == 2


def test_slurm_chain(result_of):
    from loopback_cluster import why_not

    if reason := why_not():
        pytest.skip(f"no Slurm can be started: {reason}")
    result = result_of("slurm_chain", "--runs", "demo-pretrain", "--until", "download", "--poll", "1", nested=True)
    for way in ("snakemake", "snakemake --profile slurm"):
        assert result[way]["stages"].keys() == {"download-demo-text", "download-demo-chat"}
        measured(result[way])
    measured(result["cluster_start_s"])
    assert result["same_bytes"] is True


def test_image_build(result_of, tmp_path):
    from workplace import Workplace, reason_to_skip

    if reason := reason_to_skip():
        pytest.skip(reason)
    place = Workplace(tmp_path / "probe")
    obstacle = place.obstacle()
    place.close()
    if obstacle:
        pytest.skip(obstacle)
    (tmp_path / "etc").mkdir()
    with tarfile.open(tmp_path / "base.tar", "w") as base:
        base.add(tmp_path / "etc", "etc")
    result = result_of("image_build", "--base", str(tmp_path / "base.tar"), "--first-step")
    assert "buildah" in result["machine"]["engine"]
    assert result["seconds"].keys() == {"debootstrap and import of the base", "start to the first step"}
    measured(result["seconds"])


def test_portable_bytes(result_of):
    result = result_of("portable_bytes", "--processors", "", "--settings", "portable", "--steps", "1", "--no-price")
    assert result["weights"]["portable"].keys() == {"this processor"} and result["agree"] == {"portable": True}


def test_recorded_results_say_what_they_were_measured_on():
    for file in RESULTS.glob("*.json"):
        facts = json.loads(file.read_text())["machine"]
        assert facts.keys() >= MACHINE - {"memory_gb"}, file.name  # which the older ones do not have


def test_each_benchmark_says_its_command():
    """`benchmarks/X.py` is the first thing after its docstring's first paragraph, and --help shows it."""
    for program in sorted(BENCHMARKS.glob("*.py")):
        if program.stem != "measuring":
            text = program.read_text()
            assert f"\n\n    python benchmarks/{program.name} [" in text.split('"""')[1], program.name
            assert f"def test_{program.stem}(" in Path(__file__).read_text() or program.stem in (
                "gpu_training",
                "gpu_smoke",
            )
