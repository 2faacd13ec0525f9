"""CONTRIBUTING.md tells the truth: what it names is there, and who follows one of its lists is done."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from working_tree import copy_working_tree

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
RUN = "scored"
ROWS = [
    {"row_id": f"t:{row}", "completion": text, "reference": None, "sample": 0}
    for row, text in enumerate(("WELL!", "well", "OH", "Oh"))
]
FOLLOWED = {
    "scripts/heirloom/config/sections/evaluation.py": [
        ('"distinct", "token_counts", REWARD)', '"distinct", "token_counts", "shouting", REWARD)'),
        ("distinct, token_counts, or", "distinct, token_counts, shouting, or"),
    ],
    "scripts/heirloom/evaluation/answer_metrics.py": [
        (
            "def token_counts(",
            "def shouting(rows: Sequence[dict[str, Any]]) -> list[bool]:\n"
            '    """Return for each row whether its completion is in capitals."""\n'
            '    return [row["completion"].isupper() for row in rows]\n\n\ndef token_counts(',
        )
    ],
    "scripts/heirloom/evaluation/answer_scores.py": [
        ("pattern_matches, token_counts", "pattern_matches, shouting, token_counts"),
        (
            '    elif metric == "token_counts":',
            '    elif metric == "shouting":\n        means[("shouting",)] = shouting(rows)\n'
            '    elif metric == "token_counts":',
        ),
    ],
    "tests/unit/test_answer_scores.py": [
        ("pattern_matches, token_counts", "pattern_matches, shouting, token_counts"),
        ("\n\ndef rows_of(", "\n\ndef test_shouting():\n    assert shouting(ROWS) == [False] * 4\n\n\ndef rows_of("),
    ],
    "docs/evaluation.md": [
        ("| `token_counts` |", "| `shouting` | `shouting` | the share of answers in capitals |\n| `token_counts` |")
    ],
}
"""File → (old, new): a toy, added as the list for a metric says."""


def paths(text: str) -> list[str]:
    """Return the files of the repository that a text links to, in its order."""
    return [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_file_of_a_list_is_there(section: str):
    numbered = re.findall(r"^\d\. (.*(?:\n   .*)*)", SECTIONS[section], re.MULTILINE)
    assert len(numbered) >= 4
    for entry in numbered:
        assert paths(entry), entry
    missing = [path for path in paths(SECTIONS[section]) if not (REPOSITORY / path).is_file()]
    assert missing == []


def test_there_is_a_list_for_each_thing_that_can_be_added():
    assert list(SECTIONS) == [
        "A metric of answers", "A trainer", "An engine of generation", "A source of raw data", "A processing function",
    ]  # fmt: skip


def test_names_in_the_lists_are_those_of_the_code():
    """A name in code letters, after a link to a module, is in that module."""
    for section in SECTIONS.values():
        for entry in re.findall(r"^\d\. (.*(?:\n   .*)*)", section, re.MULTILINE):
            files = [path for path in paths(entry) if path.endswith(".py")]
            names = [name for name in re.findall(r"`([A-Za-z_.]+)`", entry) if not name.endswith(".py")]
            text = "".join((REPOSITORY / path).read_text() for path in files)
            assert [name for name in names if name.rpartition(".")[2] not in text] == []


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a toy metric, and a run that asks for it."""
    folder = tmp_path_factory.mktemp("contributing") / "project"
    copy_working_tree(folder, lambda name: not name.startswith(("benchmarks/", "docker/")))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    for path, changes in FOLLOWED.items():
        text = (folder / path).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{path}: {old}"
            text = text.replace(old, new)
        (folder / path).write_text(text)
    output(folder, "workflow/schemas/generate.py")
    return folder


def output(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_metric_touches_the_files_of_its_list_and_no_others(followed: Path):
    listed, _, written = SECTIONS["A metric of answers"].partition("\nWritten: ")
    assert paths(listed) == list(FOLLOWED)
    changed = subprocess.run(["git", "diff", "--name-only"], cwd=followed, capture_output=True, text=True, check=True)
    assert set(changed.stdout.split()) == {*FOLLOWED, *paths(written.partition(". ")[0])}
    assert '"shouting"' in (followed / "workflow/schemas/run.schema.json").read_text()
    assert output(followed, "workflow/pipeline", "write") == "dvc.yaml is in step with config/\n"


def test_a_metric_that_was_added_by_its_list_is_planned_and_scored(followed: Path):
    run = {"base": "demo-tiny", "dataset": "demo-chat", "generation": {}, "evaluation": {"metrics": ["shouting"]}}
    config = followed / f"config/runs/{RUN}.yaml"
    config.write_text(json.dumps(run))
    assert f"evaluate-{RUN}" in output(followed, "workflow/pipeline", "plan", "--stages", "--runs", RUN)
    (followed / "generations").mkdir()
    (followed / "generations/generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    flags = ("--sections", "evaluation", "--generations", "generations", "--metrics", "scores.json")
    output(followed, "scripts/evaluate_model.py", "--config", str(config), *flags)
    scores = json.loads((followed / "scores.json").read_text())
    assert (scores["shouting"], list(scores["interval"])) == (0.5, ["shouting"])
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_answer_scores.py", "-k", "shouting")
    assert "1 passed" in output(followed, *tests)


def test_targets_of_make_and_folders_of_tests_are_there():
    targets = re.findall(r"^([\w.-]+):(?!=)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    named = [
        word for words in re.findall(r"\bmake ([a-z. -]+?)(?: {2,}|`|$)", TEXT, re.MULTILINE) for word in words.split()
    ]
    assert len(named) >= 6
    assert [target for target in named if target not in targets] == []
    assert all((REPOSITORY / folder).is_dir() for folder in re.findall(r"tests/\w+(?= )", TEXT))
