"""The environment is recorded, not identity: another version re-executes nothing, but is told."""

import json

from clone import Clone


def test_the_plan_warns_where_a_version_changed(clone: Clone) -> None:
    history = clone.folder / ".dvc/history.jsonl"
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    assert len(rows) == 14
    assert all(row["record"]["versions"]["transformers"] for row in rows)
    for row in rows:
        row["record"]["versions"]["transformers"] = "5.0.0"
    history.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = clone.pipeline("plan")
    assert "warning: 14 current stages were made with transformers 5.0.0, here it is 5.23.0" in done.stdout
    assert "0 to run" in done.stdout
