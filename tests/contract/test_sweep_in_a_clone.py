"""The runs of a sweep are runs as others, from the plan to the best of them; one clone tells."""

import shutil
import sys

from clone import REPOSITORY, Clone, succeeded

SWEEP = "run: other\ngrid: {training.learning_rate: [2e-5, 3e-5]}\nseeds: [1, 2]\n"
FOLDER = "config/sweeps/x"


def test_a_sweep_is_planned_made_ranked_promoted_and_found_again(clone: Clone) -> None:
    names = {f"x-learning_rate{rate}-seed{seed}" for rate in ("2e-5", "3e-5") for seed in (1, 2)}
    stages = {f"{kind}-{name}" for kind in ("train", "report") for name in names}
    clone.write(f"{FOLDER}.yaml", SWEEP)
    assert clone.snakemake_jobs("--config", "runs=x-*seed1") == {name for name in stages if name.endswith("seed1")}
    assert set(clone.plan("--runs", "x-*")) == stages
    assert clone.git("status", "--porcelain", "--untracked-files=all") == f"?? {FOLDER}.yaml\n"  # a plan writes nothing
    behind = clone.pipeline("check")
    assert behind.returncode == 1 and "train-x-learning_rate2e-5-seed1" in behind.stderr

    succeeded(clone.snakemake("--config", "runs=x-*"))
    assert set(clone.executed()) == stages  # what they share was there
    assert {path.stem for path in (clone.folder / FOLDER).iterdir()} == names

    shutil.copy2(REPOSITORY / "scripts/promote.py", clone.folder / "scripts/promote.py")
    ask = (sys.executable, "scripts/promote.py", "x", "--metric")
    for words, said in (
        (("value",), "error: no run has a score value; there are: training.exact_match, "),
        (
            ("training.value",),
            "error: whether more of training.value is better is not known here: say GREATER_IS_BETTER",
        ),
        (("training.value", "--greater-is-better=true", "--top=3"), "error: --top 3: 2 settings have a score"),
    ):
        assert said in clone.run(*ask, *words).stderr
    done = succeeded(clone.run(*ask, "training.value", "--greater-is-better=true", "--top=1"))
    promoted = {line.partition(":")[0] for line in done.stdout.splitlines() if line.endswith("a run of your own now")}
    best = {name for name in names if f"{FOLDER}/{name}.yaml" in promoted}
    assert len(promoted) == len(best) == 2 and len({name.rpartition("-")[0] for name in best}) == 1, done.stdout
    first, second = (min(some).removeprefix("x-").removesuffix("-seed1") for some in (best, names - best))
    assert done.stdout.index(f" {first} ") < done.stdout.index(f" {second} ") < done.stdout.index("not judged")
    assert clone.snakemake_jobs() == set()

    clone.write(f"{FOLDER}.yaml", SWEEP.replace(second.removeprefix("learning_rate"), "4e-5").replace("[1, 2]", "[1]"))
    succeeded(clone.pipeline("write"))
    left = {path.stem for path in (clone.folder / FOLDER).iterdir()}
    assert left == best | {"x-learning_rate4e-5-seed1"}  # what was promoted depends on the sweep no more
    for name in names - best:
        shutil.rmtree(clone.folder / f"checkpoints/{name}")
    clone.write(f"{FOLDER}.yaml", SWEEP)
    succeeded(clone.snakemake())
    assert clone.executed() == []
    assert {path.stem for path in (clone.folder / FOLDER).iterdir()} == names
    assert all((clone.folder / f"checkpoints/{name}/content.txt").is_file() for name in names)
    clone.nothing_to_do()
