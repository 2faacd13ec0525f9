"""Generations and checkpoint → scores.

Needs   config/runs/{run}.yaml, generations/{run}; for perplexity and preference checkpoints/{run} and
        data/processed/{dataset}; for the base's scores its checkpoint and answers; for win rates other runs' generations;
        for rewards checkpoints/{a run with trainer: reward}
Gives   metrics/evaluation/{run}.json; with a section `lm_eval:` samples/{run} and metrics/harness/{run}.json; with `gates:`
        metrics/gates/{run}.json, when they are kept
"""


rule evaluate:
    """Score a run: section `evaluation`.

    python scripts/launch.py torchrun scripts/evaluate_model.py
        --config … --sections … [--generations …] [--checkpoint …] [--dataset …] [--base-generations …]
        [--preferences …] [--base …] [--against …] [--reward-model …] --metrics …
    """
    input:
        generations=reads("evaluate", "generations"),
        checkpoint=reads("evaluate", "checkpoint"),
        dataset=reads("evaluate", "dataset"),
        preferences=reads("evaluate", "preferences"),
        base=reads("evaluate", "base"),
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
