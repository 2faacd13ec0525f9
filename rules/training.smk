"""Processed dataset + base → checkpoint.

Needs   config/runs/{run}.yaml, data/processed/{dataset}, models/{model} or checkpoints/{another run}
Gives   checkpoints/{run}, metrics/training/{run}.json, metrics/loss/{run}.csv
"""


rule train:
    """Train a run's base on its dataset: the script of its trainer (docs/methods.md), sections `training`, `peft`, `quantization`."""
    input:
        dataset=reads("train", "dataset"),
        base=reads("train", "base"),
    output:
        checkpoint=artifact("checkpoints/{run}"),
    log:
        "logs/train-{run}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("train"),
        accelerator=1,
    params:
        force=forced("train"),
    shell:
        r"""
        python workflow/pipeline run train-{wildcards.run:q} {params.force} \
            --marker {output.checkpoint:q}
        """
