"""Processed dataset + base → checkpoint.

Needs   config/runs/{run}.yaml, data/processed/{dataset}, models/{model} or checkpoints/{another run}
Gives   checkpoints/{run}, metrics/training/{run}.json, metrics/loss/{run}.csv; of GRPO and RLOO
        metrics/completions/{run}.jsonl; for preference tuning reference_scores/{reference},
        which all runs with that base, dataset and arithmetic read
"""


rule reference:
    """Let the base of preference trainings score their rows, once for all that compare with it: keys in the command.

    python scripts/launch.py torchrun scripts/score_reference.py
        --trainer … --dataset … --base … [--deepspeed …] --training … [--quantization …] [--beneath_adapter …] --output …
    """
    input:
        dataset=reads("reference", "dataset"),
        base=reads("reference", "base"),
    output:
        scores=artifact("reference_scores/{reference}"),
    log:
        "logs/reference-{reference}.log",
    container:
        IMAGE
    resources:
        **machines("reference"),
        accelerator=accelerators("reference"),
    params:
        command=command("reference"),
        force=forced("reference"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run reference-{wildcards.reference:q} {params.force} \
            --marker {output.scores:q}
        """


rule train:
    """Train a run's base on its dataset: sections `training`, `peft`, `quantization`; `generation`, where it predicts.

    python scripts/launch.py torchrun scripts/{train,seq2seq_train,sft_train,dpo_train,orpo_train,kto_train,reward_train,grpo_train,rloo_train}.py
        --config … --sections … --dataset … --base … [--deepspeed …] [--reference_scores …] [--packed_rows …]
        [--reward_models …] --output … --metrics … --loss … [--completions …]
    """
    input:
        dataset=reads("train", "dataset"),
        base=reads("train", "base"),
        reference_scores=reads("train", "reference_scores"),
        reward_models=reads("train", "reward_models"),
        packed_rows=reads("train", "packed_rows"),
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
