"""Rows that are packed before a training: which runs share them."""

from pipeline.graph.graph import build_graph

RUN = "base: {base}\ndataset: {dataset}\ntrainer: {trainer}\ntraining: {{global_batch_size: 64, {keys}}}\n"


def packs_of(workplace, **runs) -> dict[str, str | None]:
    """Add runs, each (trainer, dataset, keys); return what packed rows their trainings read."""
    for name, (trainer, dataset, keys) in runs.items():
        base = "pretrain" if trainer == "sft" else "tiny"
        workplace.write(f"config/runs/{name}.yaml", RUN.format(base=base, dataset=dataset, trainer=trainer, keys=keys))
    stages = build_graph(workplace.load()).stages
    found = {}
    for name in runs:
        train = stages[f"train-{name}"]
        (found[name],) = train.inputs.get("packed_rows", (None,))
        if found[name] is not None:
            pack = stages[f"pack-{found[name].rpartition('/')[2]}"]
            assert f"--packed_rows {found[name]}" in train.cmd and pack.outs == (found[name],)
            assert pack.inputs == {"dataset": train.inputs["dataset"]} and " python scripts/pack_dataset.py" in pack.cmd
    return found


def test_runs_share_rows_that_are_packed_alike(workplace):
    found = packs_of(
        workplace,
        a=("sft", "chats", "packing: true"),
        b=("sft", "chats", "packing: true, packing_strategy: bfd, learning_rate: 1e-5"),
        c=("sft", "chats", "packing: true, seq_length: 256"),
        d=("sft", "chats", "packing: true, packing_strategy: wrapped"),
        e=("trainer", "text", "seq_length: 256"),
        f=("sft", "chats", "learning_rate: 1e-5"),
    )
    assert found == {
        "a": "data/packed/chats-bfd-max",
        "b": "data/packed/chats-bfd-max",
        "c": "data/packed/chats-bfd-256",
        "d": "data/packed/chats-wrapped-max",
        "e": "data/packed/text-joined-256",
        "f": None,
    }
