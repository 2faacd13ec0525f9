"""What a rehearsal leaves of a run's `lm_eval:`."""

import pytest

from heirloom.config.run import Run
from heirloom.rehearsal.smaller_config import smaller_run

BASE = {"base": "tiny", "generation": {"prompts_file": "config/prompts.jsonl"}}


def rehearsed(**section) -> tuple[dict, list[str]]:
    run, problems = Run.check(BASE | {"lm_eval": section}, "config/runs/x.yaml")
    assert not problems
    content, left_out = smaller_run(run)
    return content.get("lm_eval"), left_out


@pytest.mark.parametrize(("given", "left"), [({}, 2), ({"limit": 1}, 1), ({"limit": 50}, 2)])
def test_tasks_of_the_project_are_scored_on_a_few_rows(given, left):
    section = {"include_path": "config/tasks", "tasks": ["finds"], **given}
    assert rehearsed(**section) == (section | {"limit": left}, [])


def test_tasks_whose_rows_would_be_fetched_whole_are_left_out():
    section, left_out = rehearsed(tasks=["arc_easy"], datasets=["arc"])
    assert section is None and [sentence.split(": ", 1)[1] for sentence in left_out] == [
        "lm_eval: its datasets are fetched whole"
    ]
