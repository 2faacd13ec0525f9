"""The lessons fail on a model that learned nothing, and the table shows what the metrics files say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from heirloom.demo.lessons import lessons
from heirloom.errors import HeirloomError
from show_scores import change_table, score_table

ROOT = Path(__file__).resolve().parents[2]
GOOD = {  # perplexity, exact match, share of polite answers
    "demo-pretrain": (2.0, 0.0, 0.0),
    "demo-sft": (1.1, 0.95, 0.5),
    "demo-dpo": (1.3, 0.97, 0.99),
    "demo-grpo": (1.4, 0.8, 0.6),
}


RANKED = {"demo-dpo": 0.9}  # share of the pairs
BEFORE = 0.3
CHANGE = {"difference": 0.5, "low": 0.25, "high": 0.75, "gained": 60, "lost": 2}


def write_metrics(folder: Path, scores: dict[str, tuple[float, float, float]]) -> Path:
    """Write metrics as the stages do; every run starts from a perplexity of 700, and from 30 % of right answers."""
    for run, (perplexity, exact_match, polite) in scores.items():
        training = {"before": {"perplexity": 700.0}, "after": {"perplexity": perplexity}}
        evaluation = {
            "perplexity": perplexity,
            "exact_match": exact_match,
            "patterns": {"polite": polite},
            "token_counts": {"completion": {"mean": 8.5}},
            "base": {"perplexity": 800.0, "exact_match": BEFORE},
            "change": {"exact_match": CHANGE},
        }
        harness = {"finds": {"acc": 0.75, "acc_stderr": 0.1}, "base": {"finds": {"acc": 0.5}}}
        harness["change"] = {"finds.acc": {"difference": 0.25, "low": 0.1, "high": 0.4, "gained": 30, "lost": 5}}
        if run in RANKED:
            evaluation |= {"preference": {"accuracy": RANKED[run]}, "own:politeness": 0.25}
        for stage, found in {"training": training, "evaluation": evaluation, "harness": harness}.items():
            file = folder / "metrics" / stage / f"{run}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found))
    return folder / "metrics"


def test_all_lessons_hold_on_good_scores(tmp_path):
    assert all(lesson.holds for lesson in lessons(write_metrics(tmp_path, GOOD)))


@pytest.mark.parametrize(
    ("run", "scores", "broken"),
    [
        ("demo-pretrain", (650.0, 0.0, 0.0), "teaches the language: held-out perplexity 700 → 650"),
        ("demo-pretrain", (2.0, 0.5, 0.0), "alone answers no questions: 50%"),
        ("demo-sft", (1.1, 0.3, 0.5), "teaches to answer: right answers 0% → 30%"),
        ("demo-dpo", (1.3, 0.97, 0.5), "teaches to be polite: polite answers 50% → 50%"),
        ("demo-dpo", (1.3, 0.6, 0.99), "costs no knowledge: right answers 95% → 60%"),
    ],
)
def test_each_lesson_can_fail(tmp_path, run, scores, broken):
    failed = [lesson.claim for lesson in lessons(write_metrics(tmp_path, GOOD | {run: scores})) if not lesson.holds]
    assert len(failed) == 1
    assert failed[0].startswith(broken)


def test_the_lesson_of_the_pairs_can_fail(tmp_path, monkeypatch):
    monkeypatch.setitem(RANKED, "demo-dpo", 0.6)
    (failed,) = [lesson.claim for lesson in lessons(write_metrics(tmp_path, GOOD)) if not lesson.holds]
    assert failed == "ranks 60% of the held-out pairs as preferred"


@pytest.mark.parametrize(
    ("before", "change"), [(0.05, {}), (0.7, {}), (0.3, {"difference": 0.2}), (0.3, {"low": -0.01})]
)
def test_the_lesson_of_the_rewards_can_fail(tmp_path, monkeypatch, before, change):
    monkeypatch.setitem(globals(), "BEFORE", before)
    monkeypatch.setitem(globals(), "CHANGE", CHANGE | change)
    (failed,) = [lesson.claim for lesson in lessons(write_metrics(tmp_path, GOOD)) if not lesson.holds]
    assert failed == f"finds the true prices: right answers {before:.0%} → 80%"


@pytest.fixture
def place(tmp_path):
    """A clone with the project's configuration and no results."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    return tmp_path


def show_scores(place: Path, *runs: str, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts" / "show_scores.py", *runs]
    wide = {**os.environ, "COLUMNS": "80", **variables}
    return subprocess.run(command, cwd=place, env=wide, capture_output=True, text=True, check=False)


def test_the_table_shows_runs_in_order_and_an_answer_of_each(place):
    write_metrics(place, GOOD)
    for run in GOOD:
        folder = place / "generations" / run
        folder.mkdir(parents=True)
        said = f":heart: \x1b]0;title\x07\x0e C:\\dir\\\u202e Ask {run}."
        rows = [{"prompt": "[1] Who?", "completion": "Ada."}, {"prompt": "[2] Where?", "completion": said}]
        (folder / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = show_scores(place)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    table = [line.split() for line in lines if line.split()[1:2] in (["trainer"], ["sft"], ["dpo"], ["grpo"])]
    assert table[1:] == [
        ["demo-pretrain", "trainer", "700", "2", "0.0%", "0.0%", "8.5"],
        ["demo-sft", "sft", "700", "1.1", "95.0%", "50.0%", "8.5"],
        ["demo-dpo", "dpo", "700", "1.3", "97.0%", "99.0%", "8.5"],
        ["demo-grpo", "grpo", "700", "1.4", "80.0%", "60.0%", "8.5"],
    ]
    assert "A held-out prompt and its answers: [2] Where?" in lines
    assert [line.split()[-1] for line in lines if "Ask demo" in line] == [f"{run}." for run in GOOD]
    changes = [line.split() for line in lines if "(+25 to +75)" in line]
    assert changes == [[run, "+50", "(+25", "to", "+75)", "better", "-"] for run in GOOD]
    assert "  demo-dpo       :heart: \\x1b]0;title\\x07\\x0e C:\\dir\\\\x202e Ask demo-dpo." in lines
    others = lines.index("  demo-dpo       preference.accuracy 0.9, own:politeness 0.25,")
    assert lines[others + 1] == " " * 17 + "lm_eval finds.acc 0.5 → 0.75 (0.554 to 0.946) higher"
    unknown = show_scores(place, "demo-dpo", "demo-stf")
    assert unknown.stderr == "error: there is no run demo-stf in config/runs/; did you mean demo-sft?\n"
    assert sum(line.startswith("✓") for line in lines) == 7
    assert max(map(len, lines)) <= 80


def test_files_that_the_table_points_to_exist_on_a_terminal_of_few_characters_too(place):
    write_metrics(place, GOOD)
    done = show_scores(place, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0 and done.stdout.isascii(), done.stderr
    pointed = done.stdout
    for name in ("docs/demo.md", "config/README.md"):
        assert name in pointed
        assert (ROOT / name).is_file()


def test_metrics_that_are_damaged_are_told_with_their_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import show_scores

    monkeypatch.chdir(tmp_path)
    file = write_metrics(tmp_path, GOOD) / "evaluation/demo-sft.json"
    file.write_text(file.read_text()[:30])
    for ask in (lambda: show_scores.read_scores("demo-sft"), lambda: lessons(Path("metrics"))):
        with pytest.raises(HeirloomError, match="metrics/evaluation/demo-sft.json is damaged"):
            ask()


def test_without_scores_it_says_how_to_get_them(place):
    done = show_scores(place)
    assert done.returncode == 1
    assert done.stderr == "error: no run has been scored yet: `snakemake` trains and scores those of config/runs/\n"


def test_a_change_without_a_column_makes_no_table():
    """Of a run whose perplexity alone was compared there is nothing to say in points."""
    compared = {"perplexity": 2.0, "change": {"perplexity": {"difference": -1.0}}}
    assert change_table({"a": {"evaluation": compared}}).row_count == 0
    scored = {"exact_match": 0.5, "change": {"exact_match": {"difference": 0.5}}}
    assert change_table({"a": {"evaluation": compared}, "b": {"evaluation": scored}}).row_count == 1


def test_a_share_that_no_run_has_gets_no_column():
    found = {"a": {"evaluation": {"perplexity": 2.0, "patterns": {"polite": 0.5}}}}
    runs = {"a": SimpleNamespace(trainer="dpo")}
    titles = [str(column.header).strip() for column in score_table(SimpleNamespace(runs=runs), found).columns]
    assert titles == ["run", "trainer", "perplexity\nbefore", "after", "polite", "tokens/\nanswer"]
    found["b"] = {"evaluation": {"exact_match": 0.5, "change": {"exact_match": {"difference": 0.5}}}}
    runs["b"] = runs["a"]
    assert score_table(SimpleNamespace(runs=runs), found).columns[4].header == "exact\nmatch"
