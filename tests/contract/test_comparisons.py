"""Scores beside the base's and another run's, with a function of the user's own: what makes them stale."""

import json
import re
import shutil
import sys
from operator import itemgetter

from clone import Clone, succeeded
from ruamel.yaml import YAML

from pipeline.ledger.identity import identity_of

POLITE = """\
base: pre
dataset: chats
trainer: sft
training: {learning_rate: 1e-5, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1}
generation: {max_new_tokens: 8}
evaluation:
  metrics: [exact_match, "own_scores:politeness"]
  base: true
  against: [sft]
  win_by: exact_match
lm_eval: {include_path: config/tasks, tasks: [finds]}
"""


def recorded_for_a_run(clone: Clone, baseline: str) -> None:
    """Turn what is recorded of the run `polite` into what version 0.1.0 recorded."""
    lock, history = clone.folder / "dvc.lock", clone.folder / ".dvc/history.jsonl"
    recorded = YAML(typ="safe").load(lock)
    stages, path = recorded["stages"], f"baselines/{baseline.removeprefix('baseline-')}"
    del stages["digest-code"]  # new code makes it stale
    entry = stages.pop(baseline) | {"params": {"config/runs/polite.yaml": {"generation": {"max_new_tokens": 8}}}}
    entry["cmd"] = (
        "python scripts/launch.py torchrun scripts/inference.py --config config/runs/polite.yaml --sections generation "
        "--checkpoint checkpoints/pre --dataset data/processed/chats --output baselines/polite"
    )
    stages["baseline-polite"] = entry
    for each in (entry, stages["evaluate-polite"], stages["report-polite"]):
        each["cmd"] = each["cmd"].replace(path, "baselines/polite")
        for item in (*each["deps"], *each["outs"]):
            item["path"] = item["path"].replace(path, "baselines/polite")
        each["deps"].sort(key=itemgetter("path"))
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    for row in rows:
        row["stage"] = row["stage"].replace(baseline, "baseline-polite")
        if row["stage"] in ("baseline-polite", "evaluate-polite", "report-polite"):
            entry = stages[row["stage"]]
            row |= {"identity": identity_of(entry), "outs": entry["outs"]}
    history.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with lock.open("w") as file:
        YAML().dump(recorded, file)
    shutil.rmtree(clone.folder / ".heirloom/records")
    (clone.folder / path).rename(clone.folder / "baselines/polite")


def test_scores_follow_the_base_the_opponent_and_the_users_own_function(clone: Clone) -> None:
    clone.write("config/runs/polite.yaml", POLITE)
    clone.write("own_scores.py", "from own_words import WORDS\n\n\ndef politeness(rows):\n    return len(WORDS)\n")
    clone.write("own_words.py", 'WORDS = ["Gladly"]\n')
    clone.write("config/tasks/finds.yaml", "task: finds\n")
    succeeded(clone.snakemake())
    baseline, *own = clone.executed()
    assert own == [f"{kind}-polite" for kind in ("evaluate", "generate", "harness", "report", "train")]
    assert re.fullmatch(r"baseline-pre-on-chats-[0-9a-f]{8}", baseline)
    clone.nothing_to_do()

    # as version 0.1.0 had it, a baseline for each run: known under its name of today, and nothing is made again
    recorded_for_a_run(clone, baseline)
    assert clone.plan() == {baseline: f"restore: baselines/{baseline.removeprefix('baseline-')} is not here"}
    assert "entries of an earlier version: `make dvc.yaml` carries them over" in clone.dvc("repro").stderr
    assert "dvc.lock: 3 entries of an earlier version" in succeeded(clone.pipeline("write")).stdout
    succeeded(clone.snakemake())
    assert clone.executed() == []
    clone.nothing_to_do()

    # another run on the same base, earlier by name and on other machines: what the base answers is there
    clone.write("config/runs/kind.yaml", POLITE.replace("1e-5", "2e-5") + "resources: {instance_type: ml.g5.xlarge}\n")
    of_kind = {name.replace("polite", "kind") for name in own}
    assert clone.snakemake_jobs("--config", "runs=kind") == of_kind
    succeeded(clone.pipeline("write"))
    succeeded(clone.dvc("repro"))
    assert set(clone.executed()) == of_kind
    clone.nothing_to_do()

    # it is one artifact of both: gone, it is restored; executed again, both are scored; of a run that goes it stays
    output = clone.folder / "baselines" / baseline.removeprefix("baseline-")
    shutil.rmtree(output)
    assert clone.plan() == {baseline: f"restore: {output.relative_to(clone.folder)} is not here"}
    readers = {f"{kind}-{run}" for kind in ("evaluate", "report") for run in ("kind", "polite")}
    assert clone.snakemake_jobs("--config", f"force={baseline}") == {baseline, *readers}
    succeeded(clone.snakemake())
    assert (clone.executed(), output.is_dir()) == ([], True)
    clone.commit("two runs on one base")
    done = clone.run(sys.executable, "scripts/reproduce.py", baseline)
    assert f"same     baselines/{output.name}" in succeeded(done).stdout and clone.executed() == [baseline]
    (clone.folder / "config/runs/kind.yaml").unlink()
    assert clone.plan() == {}
    succeeded(clone.pipeline("write"))
    succeeded(clone.dvc("repro"))
    assert clone.executed() == []
    clone.nothing_to_do()

    clone.write("own_words.py", 'WORDS = ["Gladly", "Please"]\n')
    assert clone.plan()["evaluate-polite"] == "run: own_words.py changed"
    assert set(clone.plan()) == clone.snakemake_jobs() == {"evaluate-polite", "report-polite"}
    assert "evaluate-polite" in clone.dvc("status").stdout
    succeeded(clone.dvc("repro"))
    assert clone.executed() == ["evaluate-polite"]
    clone.nothing_to_do()

    clone.write("config/tasks/finds.jsonl", "{}\n")
    assert clone.plan()["harness-polite"] == "run: config/tasks changed"
    assert set(clone.plan()) == clone.snakemake_jobs() == {"harness-polite", "report-polite"}  # the page shows them
    succeeded(clone.snakemake())
    assert clone.executed() == ["harness-polite"]  # its scores are what they were

    # pre answers the same prompts in the same way now: its answers are the base's
    clone.edit("config/runs/polite.yaml", "max_new_tokens: 8", "max_new_tokens: 4")
    assert set(clone.plan()) == {"generate-polite", "evaluate-polite", "report-polite"}
    succeeded(clone.snakemake())
    assert clone.executed() == ["evaluate-polite", "generate-polite", "report-polite"]
    clone.nothing_to_do()

    # of the opponent's stages only its answers count
    clone.edit("config/runs/sft.yaml", "max_new_tokens: 4", "max_new_tokens: 5")
    assert set(clone.plan()) == {"generate-sft", "report-sft", "evaluate-polite", "report-polite"}


def test_scores_and_loss_curves_of_two_commits_are_compared(clone: Clone) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    clone.commit("a higher rate")
    differences = succeeded(clone.dvc("metrics", "diff", "HEAD~1")).stdout
    assert re.search(r"metrics/evaluation/pre.json +value +\d+ +\d+ +-?\d+", differences)
    succeeded(clone.dvc("plots", "diff", "HEAD~1"))
    page = (clone.folder / "dvc_plots/index.html").read_text()
    assert "training loss of pre" in page
    assert set(re.findall(r'"rev": "([^"]+)"', page)) == {"HEAD~1", "workspace"}
    assert "dvc_plots" not in clone.git("status", "--short")
