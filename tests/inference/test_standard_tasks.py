"""The harness's own task files, unchanged, on replicas of the hub datasets that they read; and the table of them."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "data"), str(ROOT / "workflow" / "schemas")]  # loopback_hub; from_harness

if importlib.util.find_spec("lm_eval") is None:
    pytest.skip("`make setup-harness` installs the lm-evaluation-harness", allow_module_level=True)

from from_harness import harness_tables  # noqa: E402
from loopback_hub import LoopbackHub  # noqa: E402
from standard_benchmarks import REPOSITORIES, SOURCES, TASKS  # noqa: E402
from tiny_place import SCRIPTS  # noqa: E402

from heirloom.config.sections.lm_eval import LmEvalSection  # noqa: E402
from heirloom.errors import HeirloomError  # noqa: E402
from heirloom.evaluation.harness.tasks import load_tasks  # noqa: E402


@pytest.fixture(scope="module")
def raw(place) -> list[str]:
    """The folders of the raw datasets, downloaded from a hub on this machine, each at a pinned commit."""
    hub = LoopbackHub()
    commits = {name: hub.add(name, files) for name, files in REPOSITORIES.items()}
    with hub:
        for name, source in SOURCES.items():
            config = place.config(f"data-{name}", source=source | {"revision": commits[source["hub"]]})
            home = {"HF_ENDPOINT": hub.url, "HF_HOME": str(place.folder / "home"), "NO_PROXY": "127.0.0.1"}
            command = [sys.executable, SCRIPTS / "download_dataset.py", "--config", config, "--sections", "source"]
            done = subprocess.run(
                [*command, "--output", f"raw/{name}"],
                cwd=place.folder,
                env={**os.environ, **home, "HF_HUB_DISABLE_XET": "1"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    return [f"raw/{name}" for name in SOURCES]


@pytest.fixture(scope="module")
def long_model(place) -> str:
    """The tiny model with room for what IFEval lets a model write."""
    folder = place.folder / "long-model"
    folder.mkdir()
    for file in (place.folder / "model").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return folder.name


@pytest.fixture(scope="module")
def nltk_data(place) -> str:
    folder = place.folder / "nltk_data/tokenizers/punkt_tab/english"
    folder.mkdir(parents=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (folder / name).write_text("")
    return "nltk_data"


def test_the_harness_scores_its_own_tasks_on_what_was_downloaded(place, raw, long_model, nltk_data):
    section = {"tasks": TASKS, "datasets": [*SOURCES], "nltk_data": nltk_data, "limit": 2, "num_fewshot": 1}
    config = place.config("standard", lm_eval=section)
    inputs = ("--checkpoint", long_model, "--data", *raw, "--metrics", place.folder / "standard.json")
    inputs += ("--output", place.folder / "samples/standard")
    place.run("lm_eval_harness.py", "--config", config, "--sections", "lm_eval", *inputs)
    scores = json.loads((place.folder / "standard.json").read_text())
    intervals = scores.pop("interval")
    assert {name: found.get("sample_len") for name, found in scores.items()} == dict.fromkeys(
        ["gsm8k", "arc_easy", "arc_challenge", "mmlu_anatomy", "hellaswag", "ifeval"]
        + ["truthfulqa_gen", "truthfulqa_mc1", "truthfulqa_mc2"],
        2,
    )
    assert {"exact_match,strict-match", "exact_match,flexible-extract"} <= scores["gsm8k"].keys()
    assert {"acc", "acc_norm"} <= scores["hellaswag"].keys() and 0 < scores["truthfulqa_mc2"]["acc"] < 1
    assert 0 < intervals["truthfulqa_mc2.acc"]["low"] < intervals["truthfulqa_mc2.acc"]["high"]
    files = {file.stem: file.read_text().splitlines() for file in (place.folder / "samples/standard").iterdir()}
    assert files.keys() == scores.keys() and len(files["hellaswag"]) == 2 and len(files["gsm8k"]) == 4  # two filters
    assert {"prompt_level_strict_acc", "inst_level_loose_acc"} <= scores["ifeval"].keys()


def test_rows_that_no_folder_brings_are_not_fetched(place, raw, monkeypatch):
    monkeypatch.chdir(place.folder)
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", datasets.load_dataset)
    manager = load_tasks(LmEvalSection(tasks=["arc_easy"], datasets=["gsm8k"]), [Path("raw/gsm8k")])
    with pytest.raises(HeirloomError, match=r"reads allenai/ai2_arc \(ARC-Easy\), and here are openai/gsm8k \(main\)"):
        manager.load(["arc_easy"])


def test_the_table_of_the_harness_s_tasks_is_up_to_date():
    for name, text in harness_tables():
        assert (ROOT / "workflow/schemas" / name).read_text() == text, "run workflow/schemas/generate.py --harness"
