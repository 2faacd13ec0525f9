"""Scores of the harness beside those of a base: intervals, changes by question or by errors, and rows for a page."""

import json
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from heirloom.evaluation.harness.samples import answer_in, first_samples, values_of
from heirloom.evaluation.harness.scores import harness_report
from heirloom.evaluation.intervals import paired
from heirloom.report.scores import harness_rows

ROW = {"filter": "none", "target": 0, "doc": {}, "context": "What?", "continuations": [" a", " b"], "resps": []}
ROW |= {"filtered_resps": [[-3.0, False], [-1.5, False]], "metrics": ["acc"]}


def samples(folder: Path, right: list[int]) -> Path:
    folder.mkdir()
    rows = [ROW | {"doc_id": number, "acc": float(value)} for number, value in enumerate(right)]
    (folder / "finds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_mean_is_compared_by_question_and_anything_else_by_both_errors(tmp_path):
    run = samples(tmp_path / "run", [1] * 15 + [0] * 5)
    base = samples(tmp_path / "base", [1] * 5 + [0] * 15)
    scores = {"finds": {"acc": 0.75, "acc_stderr": 0.1, "sample_len": 20}, "group": {"acc": 0.75, "acc_stderr": 0.03}}
    before = {"finds": {"acc": 0.25, "acc_stderr": 0.1, "sample_len": 20}, "group": {"acc": 0.25, "acc_stderr": 0.04}}
    report = harness_report(scores, run, before, base)
    assert report["interval"]["finds.acc"] == pytest.approx({"low": 0.554, "high": 0.946}, abs=1e-4)
    by_question = {"difference": 0.5, "gained": 10, "lost": 0, "prompts": 20, **paired(10, 0, 20)}
    assert report["change"]["finds.acc"] == pytest.approx(by_question)
    assert report["change"]["group.acc"] == pytest.approx({"difference": 0.5, "low": 0.402, "high": 0.598}, abs=1e-4)
    finds, group = harness_rows(report)
    assert (finds["name"], finds["base"], finds["difference"], finds["verdict"]) == ("finds.acc", 0.25, 0.5, "higher")
    assert finds["interval"] == pytest.approx([0.554, 0.946], abs=1e-4) and group["verdict"] == "not judged"


def test_without_a_base_there_is_no_change(tmp_path):
    report = harness_report({"finds": {"acc": 1.0, "acc_stderr": 0.0}}, samples(tmp_path / "run", [1]), None, None)
    assert report == {"finds": {"acc": 1.0, "acc_stderr": 0.0}, "interval": {}}
    assert [row["interval"] for row in harness_rows(report)] == [None]


def test_a_page_shows_the_likeliest_continuation(tmp_path):
    (row,) = first_samples(samples(tmp_path / "run", [1]))["finds"]
    assert row == {"context": "What?", "answer": " b", "target": "0", "scores": {"acc": 1.0}}
    assert answer_in(ROW | {"continuations": [], "filtered_resps": ["so"]}) == "so"


def test_a_damaged_file_of_samples_is_named(tmp_path):
    folder = samples(tmp_path / "run", [1])
    (folder / "finds.jsonl").write_text('{"doc_id": 0}\n')
    with pytest.raises(HeirloomError, match=r"finds\.jsonl:1: is no row of samples"):
        values_of(folder, "finds")
