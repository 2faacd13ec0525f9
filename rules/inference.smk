"""Checkpoint + held-out prompts → generations.

Needs   config/runs/{run}.yaml, checkpoints/{run}, data/processed/{dataset}
Gives   generations/{run}; with `evaluation.base: true` baselines/{run}, the same prompts answered by the run's base
"""


rule generate:
    """Answer the held-out prompts with a run's checkpoint: scripts/inference.py, section `generation`."""
    input:
        checkpoint=reads("generate", "checkpoint"),
        dataset=reads("generate", "dataset"),
    output:
        generations=artifact("generations/{run}"),
    log:
        "logs/generate-{run}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("generate"),
        accelerator=1,
    params:
        force=forced("generate"),
    shell:
        r"""
        python workflow/pipeline run generate-{wildcards.run:q} {params.force} \
            --marker {output.generations:q}
        """


rule baseline:
    """Let the base of a training answer the same prompts: scripts/inference.py, section `generation`."""
    input:
        checkpoint=reads("baseline", "checkpoint"),
        dataset=reads("baseline", "dataset"),
    output:
        generations=artifact("baselines/{run}"),
    log:
        "logs/baseline-{run}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("baseline"),
        accelerator=1,
    params:
        force=forced("baseline"),
    shell:
        r"""
        python workflow/pipeline run baseline-{wildcards.run:q} {params.force} \
            --marker {output.generations:q}
        """
