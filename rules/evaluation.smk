"""Generations and checkpoint → scores.

Needs   config/runs/{run}.yaml, generations/{run}; for perplexity checkpoints/{run} and data/processed/{dataset}
Gives   metrics/evaluation/{run}.json
"""


rule evaluate:
    """Score a run: scripts/evaluate_model.py, section `evaluation`."""
    input:
        generations=reads("evaluate", "generations"),
        checkpoint=reads("evaluate", "checkpoint"),
        dataset=reads("evaluate", "dataset"),
    output:
        metrics=artifact("metrics/evaluation/{run}.json"),
    log:
        "logs/evaluate-{run}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        accelerator=1,
    params:
        force=forced("evaluate"),
    shell:
        r"""
        python workflow/pipeline run evaluate-{wildcards.run:q} {params.force} \
            --marker {output.metrics:q}
        """
