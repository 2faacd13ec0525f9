"""Results of a run → one page.

Needs   config/runs/{run}.yaml, metrics/{training,loss,evaluation}/{run}, metrics/data/{dataset}.json, generations/{run}
Gives   reports/{run}.html
"""


rule report:
    """Show a run's results on one page: scripts/create_report.py, the run's file and those of its bases."""
    input:
        data=reads("report", "data"),
        training=reads("report", "training"),
        losses=reads("report", "losses"),
        evaluation=reads("report", "evaluation"),
        generations=reads("report", "generations"),
        base_generations=reads("report", "base_generations"),
    output:
        page=artifact("reports/{run}.html"),
    log:
        "logs/report-{run}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("report"),
    params:
        force=forced("report"),
    shell:
        r"""
        python workflow/pipeline run report-{wildcards.run:q} {params.force} \
            --marker {output.page:q}
        """
