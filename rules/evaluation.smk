"""Generations and checkpoint → scores.

Needs   config/runs/{run}.yaml, generations/{run}; for perplexity and preference checkpoints/{run} and
        data/processed/{dataset}; for the base's scores its answers and what its model gave to the rows; for win rates other
        runs' generations; for rewards checkpoints/{a run with trainer: reward}
Gives   base_scores/{scores}.json, which all runs that are compared with that base on those rows read;
        metrics/evaluation/{run}.json; with a section `lm_eval:` samples/{run} and metrics/harness/{run}.json; with `gates:`
        metrics/gates/{run}.json, when they are kept
"""


rule scores:
    """Let the base of trainings score rows, once for all that are compared with it: settings in the command.

    python scripts/launch.py torchrun scripts/score_base.py
        --metric … [--checkpoint …] [--dataset …] [--reward-model …] [--generations …] --batch_size … --output …
    """
    input:
        checkpoint=reads("scores", "checkpoint"),
        dataset=reads("scores", "dataset"),
        reward_model=reads("scores", "reward_model"),
        generations=reads("scores", "generations"),
    output:
        scores=artifact("base_scores/{scores}.json"),
    log:
        "logs/scores-{scores}.log",
    container:
        IMAGE
    resources:
        **machines("scores"),
        accelerator=accelerators("scores"),
    params:
        command=command("scores"),
        force=forced("scores"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run scores-{wildcards.scores:q} {params.force} \
            --marker {output.scores:q}
        """


rule evaluate:
    """Score a run: section `evaluation`.

    python scripts/launch.py torchrun scripts/evaluate_model.py
        --config … --sections … [--generations …] [--checkpoint …] [--base-generations …] [--dataset …]
        [--preferences …] [--scores …] [--base-scores …] [--against …] [--reward-model …] --metrics …
    """
    input:
        generations=reads("evaluate", "generations"),
        checkpoint=reads("evaluate", "checkpoint"),
        dataset=reads("evaluate", "dataset"),
        preferences=reads("evaluate", "preferences"),
        scores=reads("evaluate", "scores"),
        base_scores=reads("evaluate", "base_scores"),
        base_generations=reads("evaluate", "base_generations"),
        against=reads("evaluate", "against"),
        reward_model=reads("evaluate", "reward_model"),
    output:
        metrics=artifact("metrics/evaluation/{run}.json"),
    log:
        "logs/evaluate-{run}.log",
    container:
        IMAGE
    resources:
        **machines("evaluate"),
        accelerator=accelerators("evaluate"),
    params:
        command=command("evaluate"),
        force=forced("evaluate"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run evaluate-{wildcards.run:q} {params.force} \
            --marker {output.metrics:q}
        """


rule harness:
    """Score a checkpoint on tasks of the lm-evaluation-harness: section `lm_eval`.

    python scripts/launch.py torchrun scripts/lm_eval_harness.py
        --config … --sections … --checkpoint … [--data …] [--base-metrics …] [--base-samples …]
        --output … --metrics …
    """
    input:
        checkpoint=reads("harness", "checkpoint"),
        data=reads("harness", "data"),
        base_metrics=reads("harness", "base_metrics"),
        base_samples=reads("harness", "base_samples"),
    output:
        samples=artifact("samples/{run}"),
    log:
        "logs/harness-{run}.log",
    container:
        IMAGE
    resources:
        **machines("harness"),
        accelerator=accelerators("harness"),
    params:
        command=command("harness"),
        force=forced("harness"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run harness-{wildcards.run:q} {params.force} \
            --marker {output.samples:q}
        """


rule gate:
    """Hold a run's scores against its gates: section `gates`.

    python scripts/launch.py python scripts/check_gates.py
        --config … --sections … [--evaluation …] [--harness …] [--against-evaluation …] [--against-harness …]
        --metrics …
    """
    input:
        evaluation=reads("gate", "evaluation"),
        harness=reads("gate", "harness"),
        against_evaluation=reads("gate", "against_evaluation"),
        against_harness=reads("gate", "against_harness"),
    output:
        metrics=artifact("metrics/gates/{run}.json"),
    log:
        "logs/gate-{run}.log",
    priority: -1  # its failure must keep as little as possible from being made
    container:
        IMAGE
    resources:
        **machines("gate"),
    params:
        command=command("gate"),
        force=forced("gate"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run gate-{wildcards.run:q} {params.force} \
            --marker {output.metrics:q}
        """
