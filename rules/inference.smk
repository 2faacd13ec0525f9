"""Checkpoint + held-out prompts → generations.

Needs   config/runs/{run}.yaml, checkpoints/{run}, data/processed/{dataset}
Gives   generations/{run}; with `evaluation.base: true` baselines/{baseline}, the same prompts answered by the run's base, for
        all runs that are compared with these answers
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
    """Let the base of trainings answer the same prompts, once for all that answer alike: settings in the command.

    python scripts/launch.py torchrun scripts/inference.py
        --checkpoint … [--dataset …] [--prompts …] --generation … --output …
    """
    input:
        checkpoint=reads("baseline", "checkpoint"),
        dataset=reads("baseline", "dataset"),
    output:
        generations=artifact("baselines/{baseline}"),
    log:
        "logs/baseline-{baseline}.log",
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
        python workflow/pipeline run baseline-{wildcards.baseline:q} {params.force} \
            --marker {output.generations:q}
        """
