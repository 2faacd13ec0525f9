"""Checkpoint + held-out prompts → generations.

Needs   config/runs/{run}.yaml, checkpoints/{run}, data/processed/{dataset}
Gives   generations/{run}
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
        accelerator=1,
    params:
        force=forced("generate"),
    shell:
        r"""
        python workflow/pipeline run generate-{wildcards.run:q} {params.force} \
            --marker {output.generations:q}
        """
