"""A sweep's file stands for runs: which, under which names, and what is told of mistakes in it."""

# ruff: noqa: E501 - messages stand here as they are printed

import pytest

from heirloom.code_closure import PROJECT
from heirloom.config.folders import named_files
from heirloom.config.parsing.reading import parse_yaml
from heirloom.config.project import load_project
from heirloom.config.sweeps import members
from heirloom.config.sweeps.members import name_of, text_of
from heirloom.errors import HeirloomError
from pipeline.graph import dvcfile, load_graph
from pipeline.ledger.ledger import selected
from pipeline.rehearsal.record import decisive_parts, keys_of

GRID = "run: sft\ngrid:\n  training.learning_rate: [1e-5, 3e-5]\n  peft: [null, {r: 8}]\nseeds: [1, 2]\n"


def sweep(workplace, text: str, name: str = "x") -> set[str]:
    """Write a sweep and return the names of its runs."""
    workplace.write(f"config/sweeps/{name}.yaml", text)
    return set(workplace.load(workplace.root / ".cache").runs) - {"pretrain", "sft", "dpo"}


def test_a_grid_is_each_combination_for_each_seed(workplace):
    names = sweep(workplace, GRID)
    assert names == {
        f"x-peft{peft}-learning_rate{rate}-seed{seed}"
        for peft in ("none", "r8")
        for rate in ("1e-5", "3e-5")
        for seed in "12"
    }
    for cache in (None, workplace.root / ".cache"):  # made anew, and from the cache that `sweep` has left
        runs = workplace.load(cache).runs
        sft, member = runs["sft"].raw, runs["x-peftr8-learning_rate3e-5-seed2"]
        assert member.raw == {
            **sft,
            "training": {**sft["training"], "learning_rate": 3e-5, "seed": 2},
            "peft": {"r": 8},
        }
        assert member.path == "config/sweeps/x/x-peftr8-learning_rate3e-5-seed2.yaml"
        assert "peft" not in runs["x-peftnone-learning_rate3e-5-seed2"].raw


def test_a_list_has_the_keys_of_each_item_whatever_their_order(workplace):
    text = "run: sft\nlist:\n- {training.learning_rate: 1e-5, peft.r: 8}\n- {peft.r: 16}\n"
    assert sweep(workplace, text) == {"x-r8-learning_rate1e-5", "x-r16"}
    text = "run: sft\nlist:\n- {peft.r: 16}\n- {peft.r: 8, training.learning_rate: 0.00001}\n"
    assert sweep(workplace, text) == {"x-r8-learning_rate1e-5", "x-r16"}


def test_a_template_need_not_be_enabled_and_a_sweep_can_be_disabled(workplace):
    workplace.change("config/runs/dpo.yaml", "base: sft", "enabled: false\nbase: sft")
    sweep(workplace, "run: dpo\nseeds: [1]\n")
    assert workplace.load().runs["x-seed1"].enabled
    sweep(workplace, "enabled: false\nrun: dpo\nseeds: [1]\n")
    assert not workplace.load().runs["x-seed1"].enabled


def test_names_are_made_from_values_and_fit():
    values = [("training.learning_rate", 1e-5), ("a.r", 8), ("b.r", 0.1), ("c", 1.5e20), ("d", 3.0), ("e", True)]
    assert name_of("x", values) == "x-learning_rate1e-5-a_r8-b_r0_1-c1_5e20-d3-etrue"
    assert (
        name_of("x", [("dataset", "né/1"), ("training.loss_type", ["sigmoid", "bco"])])
        == "x-datasetn-1-loss_typesigmoid-bco"
    )
    long = [("training.per_device_train_batch_size", 1), ("training.lr_scheduler_type", "cosine_with_restarts")]
    names = [name_of("x", [*long, ("training.seed", seed)]) for seed in (1, 2)]
    assert [len(name) for name in names] == [63, 63] and names[0] != names[1]
    assert names[0].startswith("x-per_device_train_batch_size1-lr_scheduler_type")


def test_a_written_file_says_what_the_run_is_whatever_the_texts():
    odd = [
        "yes",
        "0o10",
        "1:30",
        "010",
        "a: b",
        "# x",
        "ü\n",
        "2026-01-01",
        "null",
        "",
        " x",
        "1e-5",
        1e-5,
        3e25,
        True,
        {"a": {}},
        [],
    ]
    value = {"base": "yes", "odd": odd, "deep": {"text": "é " * 200, "n": [1, [2.0]]}}
    text = text_of(value, "config/sweeps/x.yaml", {})
    assert parse_yaml(text, "x") == value and repr(parse_yaml(text, "x")) == repr(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run: sfd\nseeds: [1]\n", ["1: run: there is no file of a run sfd; did you mean sft?"]),
        ("run: sft\n", [" grid: this sweep varies nothing; give grid, list or seeds"]),
        (
            "run: sft\ngrid:\n  training.learning_rat: [1, 2]\n  learning_rate: [1e-4, 2e-4]\n",
            [
                "3: grid.training.learning_rat: trl.SFTConfig 1.16.0 has no such key; did you mean learning_rate?",
                "4: grid.learning_rate: there is no such key; did you mean training.learning_rate?",
            ],
        ),
        (
            "run: sft\ngrid: {generation.max_new_tokens: [1, no]}\nseeds: [1, 2, 3]\n",
            ["2: grid.generation.max_new_tokens[1]: expected a whole number, found the text 'no'"],
        ),
        (
            "run: sft\nlist:\n- {dataset: chats}\n- {dataset: chatz}\n",
            ["4: list[1].dataset: there is no config/datasets/chatz.yaml; did you mean chats?"],
        ),
        (
            "run: sft\ngrid: {training.num_train_epochs: [1, 2], training.max_steps: [5]}\n",
            ["2: grid.training.num_train_epochs: has no effect beside max_steps, which ends the training; delete one of them"],
        ),
        (
            "run: sft\ngrid: {training.per_device_train_batch_size: [4, 5]}\n",
            [
                "1: run: with the values of x-per_device_train_batch_size5: training.global_batch_size: 64 is no multiple of 10 = "
                "per_device_train_batch_size 5 × 2 ranks (no resources.instance_type, so two CPU ranks are assumed); set "
                "global_batch_size to 60 or per_device_train_batch_size to 4"
            ],
        ),
        (
            "run: sft\ngrid: {base.x: [1], training: [{global_batch_size: 4, seed: 3}], enabled: [true], a..b: [1], peft: []}\nseeds: [1, 1]\n",
            [
                "2: grid.a..b: is no key; write a section and its key with a dot between, training.learning_rate",
                "2: grid.enabled: cannot be varied; `enabled:` of the sweep holds for all its members",
                "2: grid.peft: has no values; give some or delete the key",
                "2: grid.training: is what seeds vary; delete one of them",
                "3: seeds[1]: is the same as item 0, counted from 0; delete one of them",
            ],
        ),
        (
            "run: sft\ngrid: {base.x: [1, 2]}\n",
            ["2: grid.base.x: there is no such key, as base holds no keys; name another, or base itself"],
        ),
        (
            "run: sft\ngrid: {training.weight_decay: [0.1, '0_1']}\n",
            [
                "2: grid.training.weight_decay[1]: the run would be called x-weight_decay0_1, as that of "
                "grid.training.weight_decay[0]; leave one of them out"
            ],
        ),
        (
            f"run: sft\ngrid: {{training.weight_decay: {[*range(101)]}, training.seed: {[*range(100)]}}}\n",
            [" these are 10,100 runs, and a sweep has at most 10,000; leave some out"],
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_once_at_the_sweeps_own_key(workplace, text, said):
    workplace.write("config/sweeps/x.yaml", text)
    assert workplace.mistakes() == [f"config/sweeps/x.yaml:{one}" for one in said]


def test_what_the_run_has_wrong_is_told_of_the_run_alone(workplace):
    sweep(workplace, GRID)
    workplace.change("config/runs/sft.yaml", "dataset: both", "dataset: bath")
    (said,) = workplace.mistakes()
    assert said.startswith("config/runs/sft.yaml:2: dataset: there is no config/datasets/bath.yaml")
    workplace.change("config/runs/sft.yaml", "trainer: sft", "trainer: sfd")
    assert all(one.startswith("config/runs/sft.yaml:") for one in workplace.mistakes())


def test_a_sweep_starts_from_a_file_not_from_a_run_of_a_sweep(workplace):
    sweep(workplace, "run: sft\nseeds: [1]\n", "a")
    workplace.write("config/sweeps/b.yaml", "run: a-seed1\nseeds: [1]\n")
    assert workplace.mistakes() == [
        "config/sweeps/b.yaml:1: run: there is no file of a run a-seed1; known: dpo, pretrain, sft"
    ]


def test_of_many_runs_the_nearest_is_named(workplace, monkeypatch):
    sweep(workplace, f"run: sft\nseeds: {[*range(20)]}\n")
    monkeypatch.chdir(workplace.root)
    project, graph = load_graph()
    with pytest.raises(HeirloomError, match=r"no run is called x-sed7; did you mean x-seed7\?"):
        selected(graph, project, "x-sed7", "--config runs=x-sed7")
    with pytest.raises(HeirloomError, match=r"no run is called nothing; there are dpo, pretrain, sft, .* and 11 more$"):
        selected(graph, project, "nothing", "--config runs=nothing")


def test_a_rehearsal_counts_for_a_run_whose_file_is_written_afterwards(workplace, monkeypatch):
    sweep(workplace, "run: sft\nseeds: [1, 2]\n")
    (workplace.root / "scripts").symlink_to(PROJECT / "scripts")
    monkeypatch.chdir(workplace.root)
    graph = load_graph()[1]
    keys = keys_of(["x-seed1", "x-seed2"], graph, decisive_parts(graph))
    assert len(set(keys.values())) == 2
    dvcfile.write(graph)
    assert keys_of(keys, graph, decisive_parts(graph)) == keys


def test_a_name_that_another_run_has_is_refused(workplace):
    workplace.write("config/runs/x-seed1.yaml", "base: tiny\ngeneration: {dataset: chats}\n")
    workplace.write("config/sweeps/x.yaml", "run: sft\nseeds: [1]\n")
    assert workplace.mistakes() == [
        "config/sweeps/x.yaml: x-seed1 is one of its runs, and there is also config/runs/x-seed1.yaml: rename one of them"
    ]


def test_a_broken_sweep_stops_no_other_run_and_is_told_to_who_selects_it(workplace, monkeypatch):
    sweep(workplace, "run: sft\nseeds: [1]\n")
    sweep(workplace, "run: sft\nseeds: [1]\n", "y")
    monkeypatch.chdir(workplace.root)
    dvcfile.write(load_graph()[1])
    workplace.write("config/sweeps/x.yaml", "run: sft\nseeds: [one]\n")
    project, graph = load_graph(strict=False)
    assert project.runs.keys() == {"pretrain", "sft", "dpo", "y-seed1"} and project.unknown_members == {"x"}
    for pattern, error in (
        ("x-*", "seeds"),
        ("x-seed1", "seeds"),
        ("x", "no run is called x; there are dpo, pretrain, sft, y-seed1"),
    ):
        with pytest.raises(HeirloomError, match=error):
            selected(graph, project, pattern, f"--config runs={pattern}")
    assert "train-y-seed1" in selected(graph, project, "y-*", "--config runs=y-*")
    kept = (workplace.root / "dvc.yaml").read_text()
    dvcfile.write(graph)
    assert (workplace.root / "dvc.yaml").read_text() == kept and "train-x-seed1:" in kept
    assert (workplace.root / "config/sweeps/x/x-seed1.yaml").is_file()
    workplace.write("config/sweeps/x.yaml", "run: sft\nseeds: [1]\ngrid: {generation.max_new_tokens: [no]}\n")
    project = load_project(workplace.root, None, strict=False)
    assert project.runs.keys() == {"pretrain", "sft", "dpo", "y-seed1"}


def test_files_of_runs_are_written_told_of_and_deleted_with_their_values(workplace, monkeypatch):
    monkeypatch.chdir(workplace.root)
    names = sweep(workplace, GRID)
    graph = load_graph()[1]
    with pytest.raises(HeirloomError, match="out of step with config/"):
        dvcfile.check(graph)
    assert dvcfile.write(graph) and not dvcfile.write(graph)
    dvcfile.check(graph)
    assert names <= named_files(workplace.root, "runs").keys()
    written = workplace.root / "config/sweeps/x/x-peftr8-learning_rate1e-5-seed1.yaml"
    text = written.read_text()
    assert text.startswith(members.WRITTEN + "sweeps/x.yaml by `make dvc.yaml`: do not edit it")

    written.write_text(text.replace("r: 8", "r: 9"))
    assert load_graph()[1].stages.keys() == graph.stages.keys()
    with pytest.raises(
        HeirloomError,
        match=r"out of step with its sweep \(changed: config/sweeps/x/x-peftr8\S+1.yaml\): `make dvc.yaml`",
    ):
        dvcfile.check(load_graph()[1])
    stage = graph.stage("train-x-peftr8-learning_rate1e-5-seed1")
    with pytest.raises(HeirloomError, match="x-peftr8-learning_rate1e-5-seed1.yaml is out of step with its sweep"):
        dvcfile.check_stage(stage, dvcfile.launched(stage.cmd), graph.members)

    own = workplace.root / "config/sweeps/x/x-peftr8-learning_rate3e-5-seed1.yaml"
    own.write_text(own.read_text().partition("\n")[2])  # a run of one's own: it stands for the member, and stays
    sweep(workplace, "run: sft\nseeds: [1]\n")
    dvcfile.write(load_graph()[1])
    left = {path.name for path in (workplace.root / "config/sweeps/x").iterdir()}
    assert left == {own.name, "x-seed1.yaml"}
    assert own.stem in workplace.load().runs
    (workplace.root / "config/sweeps/x.yaml").unlink()
    own.unlink()
    dvcfile.write(load_graph()[1])
    assert not (workplace.root / "config/sweeps/x").exists()
