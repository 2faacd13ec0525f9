"""Results of a run → one page.

Needs   config/runs/{run}.yaml, metrics/{training,loss,completions,evaluation,harness}/{run}, metrics/data/{dataset}.json, generations/{run},
        samples/{run}
Gives   reports/{run}.html
"""


rule report:
    """Show a run's results on one page: sections `base`, `dataset`, `trainer`, `deepspeed`, `training`, `peft`,
    `quantization`, `generation`, `evaluation`, `gates`, also those of the runs that it stands on.

    python scripts/launch.py python scripts/create_report.py
        --config … --sections … [--ancestors …] --data … [--training …] [--losses …] [--completions …] [--evaluation …]
        [--harness …] [--samples …] [--against-evaluation …] [--against-harness …] [--generations …] [--base-generations …] --output …
    """
    input:
        data=reads("report", "data"),
        training=reads("report", "training"),
        losses=reads("report", "losses"),
        completions=reads("report", "completions"),
        evaluation=reads("report", "evaluation"),
        harness=reads("report", "harness"),
        samples=reads("report", "samples"),
        against_evaluation=reads("report", "against_evaluation"),
        against_harness=reads("report", "against_harness"),
        generations=reads("report", "generations"),
        base_generations=reads("report", "base_generations"),
    output:
        page=artifact("reports/{run}.html"),
    log:
        "logs/report-{run}.log",
    container:
        IMAGE
    resources:
        **machines("report"),
    params:
        command=command("report"),
        force=forced("report"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run report-{wildcards.run:q} {params.force} \
            --marker {output.page:q}
        """
