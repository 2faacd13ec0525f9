"""Processed dataset + base → checkpoint.

Needs   config/runs/{run}.yaml, data/processed/{dataset}, models/{model} or checkpoints/{another run}
Gives   checkpoints/{run}, metrics/training/{run}.json, metrics/loss/{run}.csv; of GRPO and RLOO
        metrics/completions/{run}.jsonl, and before them metrics/rewards/{run}.json; for preference tuning reference_scores/{reference},
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


rule rewards:
    """Try what a run's answers are worth before it learns from them: keys of its training in the command.

    python scripts/launch.py python scripts/try_rewards.py
        --dataset … --tokenizer … --training … [--reward_models …] --metrics …
    """
    input:
        dataset=reads("rewards", "dataset"),
        tokenizer=reads("rewards", "tokenizer"),
        reward_models=reads("rewards", "reward_models"),
    output:
        metrics=artifact("metrics/rewards/{run}.json"),
    log:
        "logs/rewards-{run}.log",
    container:
        IMAGE
    resources:
        **machines("rewards"),
        accelerator=accelerators("rewards"),
    params:
        command=command("rewards"),
        force=forced("rewards"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run rewards-{wildcards.run:q} {params.force} \
            --marker {output.metrics:q}
        """


rule train:
    """Train a run's base on its dataset: sections `training`, `peft`, `quantization`; `generation`, where it predicts.

    python scripts/launch.py torchrun scripts/{train,seq2seq_train,sft_train,dpo_train,orpo_train,kto_train,reward_train,grpo_train,rloo_train}.py
        --config … --sections … --dataset … --base … [--deepspeed …] [--reference_scores …] [--packed_rows …]
        [--reward_models …] [--tried_rewards …] --output … --metrics … --loss … [--completions …]
    """
    input:
        dataset=reads("train", "dataset"),
        base=reads("train", "base"),
        reference_scores=reads("train", "reference_scores"),
        reward_models=reads("train", "reward_models"),
        packed_rows=reads("train", "packed_rows"),
        tried_rewards=reads("train", "tried_rewards"),
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
