"""A new trainer is an entry, a script and the section that a run has anyway: a toy in a copy of the project."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from working_tree import copy_working_tree

from heirloom.config.arguments.library_arguments import ARGUMENTS, known_title
from heirloom.config.trainers.table import TRAINERS

ENTRY = '''\
"""`trainer: toy`."""

from heirloom.config.trainers.spec import TrainerSpec

TOY = TrainerSpec(
    name="toy",
    title="nothing but words",
    script="scripts/toy_train.py",
    arguments_class="transformers.TrainingArguments",
    row_kinds=("text",),
    collators=("dynamic_padding_only",),
)
'''
SCRIPT = '''\
"""Say what would be trained."""

import sys

from heirloom.config.trainers.toy import TOY

print(TOY.title, *sys.argv[1:])
'''
RUN = """\
base: demo-tiny
dataset: demo-text
trainer: toy
training: {global_batch_size: 16, max_steps: 2}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a toy trainer and a run that is trained by it."""
    folder = tmp_path_factory.mktemp("new-trainer") / "project"
    roots = (
        "scripts/",
        "rules/",
        "config/",
        "docs/",
        "workflow/schemas/",
        "workflow/pipeline/",
        "README.md",
        "dvc.yaml",
    )
    copy_working_tree(folder, lambda name: name.startswith(roots))
    (folder / "scripts/heirloom/config/trainers/toy.py").write_text(ENTRY)
    table = folder / "scripts/heirloom/config/trainers/table.py"
    named = re.sub(r"(= \{.*)\)\}", r"\1, TOY)}", table.read_text())
    table.write_text(f"{named}".replace("\n\nTRAINERS", "\nfrom heirloom.config.trainers.toy import TOY\n\nTRAINERS"))
    (folder / "scripts/toy_train.py").write_text(SCRIPT)
    (folder / "config/runs/toy-run.yaml").write_text(RUN)
    # what `generate.py --libraries` makes for a class that another trainer has too; it would import transformers
    arguments = folder / ARGUMENTS.relative_to(Path(__file__).resolve().parents[2])
    assert known_title("trainer").startswith("transformers.TrainingArguments ")
    shutil.copy(arguments / "trainer.json", arguments / "toy.json")
    return folder


def output_of(project: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_has_a_stage_and_leaves_those_of_others_as_they_are(project):
    before = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    output_of(project, "workflow/pipeline", "write")
    after = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    own = {name: after.pop(name) for name in list(after) if name.endswith("-toy-run")}
    digests = (before.pop("digest-code"), after.pop("digest-code"))
    assert after == before, "another trainer's entry is code of no other training"
    listings = [{next(iter(out)) for out in stage["outs"]} for stage in digests]
    assert listings[1] - listings[0] == {"workflow/code/toy_train.txt"}
    assert set(own) == {"train-toy-run", "report-toy-run"}
    assert own["train-toy-run"]["cmd"].startswith("python scripts/launch.py torchrun scripts/toy_train.py --config ")
    assert "workflow/code/toy_train.txt" in own["train-toy-run"]["deps"]


def test_its_keys_are_checked_and_its_rows(project):
    run = project / "config/runs/toy-run.yaml"
    run.write_text(RUN.replace("max_steps", "max_step").replace("demo-text", "demo-chat"))
    try:
        done = subprocess.run(
            [sys.executable, "workflow/pipeline", "check"], cwd=project, capture_output=True, text=True, check=False
        )
    finally:
        run.write_text(RUN)
    assert done.returncode != 0
    assert "did you mean max_steps?" in done.stderr
    assert "trainer toy learns from text rows (text), and demo-chat has chat rows" in done.stderr


def test_schemas_and_documents_name_it(project):
    said = output_of(project, "workflow/schemas/generate.py")
    files = ["workflow/schemas/run.schema.json", "config/README.md", "docs/methods.md", "docs/training.md", "README.md"]
    files += ["scripts/README.md", "rules/training.smk"]
    assert said == "".join(f"wrote {name}\n" for name in files)
    schema = json.loads((project / files[0]).read_text())
    assert schema["properties"]["trainer"]["enum"][-1] == "toy"
    assert {"if": {"properties": {"trainer": {"const": "toy"}}, "required": ["trainer"]}}.items() <= (
        schema["allOf"][-2].items()
    )
    assert "| `toy` | nothing but words | [toy_train.py](../scripts/toy_train.py) |" in (
        (project / "docs/methods.md").read_text()
    )
    assert "[toy_train.py](scripts/toy_train.py)" in (project / "README.md").read_text()
    assert "| [toy_train.py](toy_train.py) | train | nothing but words |" in (project / "scripts/README.md").read_text()
    assert "_train,toy_train}.py" in (project / "rules/training.smk").read_text()


def test_the_one_program_for_all_starts_it(project):
    said = output_of(project, "scripts/unified_train.py", "--config", "config/runs/toy-run.yaml", "--seed", "1")
    assert said == "nothing but words --config config/runs/toy-run.yaml --seed 1\n"


def test_entries_tell_the_truth():
    """Each script starts with its own entry, and with the class that this names."""
    for trainer in TRAINERS.values():
        text = (Path(__file__).resolve().parents[2] / trainer.script).read_text()
        imported = re.findall(r"^from heirloom\.config\.trainers\.(\w+) import (\w+)$", text, re.MULTILINE)
        assert len(imported) == 1 and "trainers.table" not in text
        assert f"read_command(__doc__, {imported[0][1]}, {trainer.arguments_class.rpartition('.')[2]}" in text
