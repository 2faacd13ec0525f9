"""Checkpoint + held-out prompts → generations.

Needs   config/runs/{run}.yaml, checkpoints/{run}, data/processed/{dataset}
Gives   generations/{run}; with `evaluation.base: true` baselines/{run}, the same prompts answered by the run's base
"""


rule generate:
    """Answer the held-out prompts with a run's checkpoint: section `generation`.

    python scripts/launch.py torchrun scripts/inference.py
        --config … --sections … --checkpoint … [--dataset …] [--prompts …] --output …
    """
    input:
        checkpoint=reads("generate", "checkpoint"),
        dataset=reads("generate", "dataset"),
    output:
        generations=artifact("generations/{run}"),
    log:
        "logs/generate-{run}.log",
    container:
        IMAGE
    resources:
        **machines("generate"),
        accelerator=accelerators("generate"),
    params:
        command=command("generate"),
        force=forced("generate"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run generate-{wildcards.run:q} {params.force} \
            --marker {output.generations:q}
        """


rule baseline:
    """Let the base of a training answer the same prompts: section `generation`.

    python scripts/launch.py torchrun scripts/inference.py
        --config … --sections … --checkpoint … [--dataset …] [--prompts …] --output …
    """
    input:
        checkpoint=reads("baseline", "checkpoint"),
        dataset=reads("baseline", "dataset"),
    output:
        generations=artifact("baselines/{run}"),
    log:
        "logs/baseline-{run}.log",
    container:
        IMAGE
    resources:
        **machines("baseline"),
        accelerator=accelerators("baseline"),
    params:
        command=command("baseline"),
        force=forced("baseline"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run baseline-{wildcards.run:q} {params.force} \
            --marker {output.generations:q}
        """
