"""Processed dataset + base → checkpoint.

Needs   config/runs/{run}.yaml, data/processed/{dataset}, models/{model} or checkpoints/{another run}
Gives   checkpoints/{run}, metrics/training/{run}.json, metrics/loss/{run}.csv
"""


rule train:
    """Train a run's base on its dataset: sections `training`, `peft`, `quantization`; `generation`, where it predicts.

    python scripts/launch.py torchrun scripts/{train,seq2seq_train,sft_train,dpo_train,orpo_train,kto_train,reward_train,grpo_train,rloo_train}.py
        --config … --sections … --dataset … --base … [--deepspeed …] --output … --metrics … --loss …
    """
    input:
        dataset=reads("train", "dataset"),
        base=reads("train", "base"),
    output:
        checkpoint=artifact("checkpoints/{run}"),
    log:
        "logs/train-{run}.log",
    container:
        IMAGE
    resources:
        **machines("train"),
        accelerator=accelerators("train"),
    params:
        command=command("train"),
        force=forced("train"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run train-{wildcards.run:q} {params.force} \
            --marker {output.checkpoint:q}
        """
