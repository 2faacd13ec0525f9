"""What is generated from the models is up to date, and editors say with it what the workflow says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource
from warm_start import warm_ranks
from working_tree import copy_working_tree

from heirloom.config.arguments.library_arguments import argument_schemas, arguments_model
from heirloom.config.arguments.refused_arguments import RENAMED, RESOURCES, SET_BY_THE_WORKFLOW, TRACKING, refusal
from heirloom.config.files import KINDS
from heirloom.config.parsing.reading import read_yaml
from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.trainers.table import TRAINERS

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "workflow" / "schemas"


def test_generated_files_are_up_to_date():
    """Also those of the libraries: the tests run in the training environment."""
    command = [warm_ranks()["PYTHON_EXEC"], "workflow/schemas/generate.py", "--check", "--libraries"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


def test_a_stale_file_is_shown_with_the_command_that_mends_it(tmp_path):
    roots = ("workflow/schemas/", "config/", "docs/", "rules/", "scripts/", "README.md")
    copy_working_tree(tmp_path, lambda name: name.startswith(roots))
    readme = tmp_path / "config/README.md"
    whole = readme.read_text()
    readme.write_text(whole.replace("optimizer step", "optimiser step"))
    command = [sys.executable, "workflow/schemas/generate.py"]
    stale = subprocess.run([*command, "--check"], cwd=tmp_path, capture_output=True, text=True)
    assert stale.returncode == 1
    assert "-| `global_batch_size`" in stale.stdout
    assert "1 generated files are out of date: run python workflow/schemas/generate.py" in stale.stdout
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "wrote config/README.md\n"
    assert readme.read_text() == whole


@pytest.fixture(scope="module")
def registry() -> Registry:
    files = [*SCHEMAS.glob("*.json"), *SCHEMAS.glob("training_arguments/*.json")]
    specification = jsonschema.validators.Draft7Validator.META_SCHEMA["$schema"]
    resources = []
    for file in files:
        content = {"$schema": specification, **json.loads(file.read_text())}
        resources.append((file.relative_to(SCHEMAS).as_posix(), Resource.from_contents(content)))
    return Registry().with_resources(resources)


def schema_mistakes(registry: Registry, kind: str, value: object) -> list[str]:
    schema = {"$ref": f"{kind}.schema.json"}
    return [error.message for error in jsonschema.Draft7Validator(schema, registry=registry).iter_errors(value)]


@pytest.mark.parametrize(
    "path", [path.relative_to(ROOT) for kind in KINDS for path in ROOT.glob(f"config/*/{kind}/*.yaml")]
)
def test_shipped_files_satisfy_the_schema_that_their_first_line_names(registry, path: Path):
    kind = path.parent.name.removesuffix("s")
    text = (ROOT / path).read_text()
    assert text.startswith(f"# yaml-language-server: $schema=../../../workflow/schemas/{kind}.schema.json\n")
    assert schema_mistakes(registry, kind, read_yaml(ROOT / path)) == []


def test_the_schema_knows_what_each_trainer_takes(registry):
    def run(trainer: str, **training: object) -> list[str]:
        value = {"base": "a", "dataset": "b", "trainer": trainer, "training": {"global_batch_size": 8, **training}}
        return schema_mistakes(registry, "run", value)

    assert run("dpo", beta=0.1, learning_rate=1e-5, loss_type=["ipo"]) == []
    assert run("sft", beta=0.1) == ["Additional properties are not allowed ('beta' was unexpected)"]
    assert run("dpo", beta="0.1") == ["'0.1' is not of type 'number'"]
    assert run("sft", optim="adam")[0].startswith("'adam' is not one of ['adamw_torch',")
    assert run("sft", output_dir="x") == ["Additional properties are not allowed ('output_dir' was unexpected)"]
    assert run("trainer", global_batch_size=0) == ["0 is less than the minimum of 1"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_library_schemas_hold_names_types_choices_and_help(trainer: str):
    keys = argument_schemas(trainer)
    assert {"learning_rate", "max_steps", "optim", "lr_scheduler_type"} <= keys.keys()
    assert keys["max_steps"]["type"] == "integer"
    assert "cosine" in keys["lr_scheduler_type"]["enum"]
    assert all(key["description"] for key in keys.values())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_libraries_own_defaults_are_of_the_types_found(trainer: str):
    defaults = {key: schema["default"] for key, schema in argument_schemas(trainer).items() if "default" in schema}
    assert len(defaults) > 100
    arguments_model(trainer).model_validate(defaults)


def test_every_key_of_the_libraries_is_either_usable_or_refused_for_a_reason_that_holds():
    present = {key for trainer in TRAINERS for key in argument_schemas(trainer)}
    assert RENAMED.keys() & present == {"max_completion_length"}  # GRPO's own, and of DPO what it was before
    assert refusal("training", "max_completion_length", argument_schemas("grpo")) is None
    assert set(TRACKING) <= present & TrackingSection.model_fields.keys()
    assert set(RESOURCES) <= present & ResourcesSection.model_fields.keys()
    assert not SET_BY_THE_WORKFLOW.keys() - present


def test_the_mistake_that_the_readme_shows_is_what_is_printed(workplace):
    readme = (ROOT / "config/README.md").read_text()
    shown = re.search(r"^ {4}(config/runs/my-run.yaml:(\d+): .*)$", readme, re.MULTILINE)
    lines = ["base: tiny", "dataset: chats", "trainer: sft", "training:", "  global_batch_size: 16", "  max_steps: 1"]
    workplace.write("config/runs/my-run.yaml", "\n".join([*lines, "  learning_rat: 1e-4"]))
    assert int(shown[2]) == len(lines) + 1
    assert workplace.mistakes() == [shown[1]]


def test_every_section_has_its_table_in_the_readme():
    readme = (ROOT / "config/README.md").read_text()
    tables = re.findall(r"<!-- keys: (\w+) -->", readme)
    sections = {key for model in KINDS.values() for key in model.model_fields}
    plain = {"base", "dataset", "trainer", "deepspeed", "enabled", "trust_remote_code", "portable", "gates"}
    assert set(tables) == (sections - plain) | {"run", "sweep", "dataset", "model", "model_source", "project"}


def test_keys_of_machines_stand_once_in_the_readme():
    """`resources:` has them for all stages; those of one stage are the same, and named, not repeated."""
    readme = (ROOT / "config/README.md").read_text()
    table = readme.partition("<!-- keys: resources -->")[2].partition("<!-- end of keys -->")[0]
    for key in ResourcesSection.model_fields:
        assert len(re.findall(rf"^\| `(?:\w+\.)?{key}` \|", table, re.MULTILINE)) == 1, key
    assert table.count("the keys from `instance_type` to `runtime`") == 2
