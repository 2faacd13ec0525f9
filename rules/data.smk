"""Raw dataset → processed dataset, and what tokenizes it.

Needs   config/datasets/{dataset}.yaml, config/models/{model}.yaml
Gives   data/raw/{dataset}, tokenizers/{model}, models/{model}, data/processed/{dataset}, metrics/data/{dataset}.json; for
        trainings that pack or join rows data/packed/{packed}, metrics/packed/{packed}.json
"""


rule download:
    """Fetch a raw dataset, or generate it: section `source`.

    python scripts/launch.py python scripts/{download_dataset,generate_dataset}.py
        --config … --sections … --output …
    """
    output:
        raw=artifact("data/raw/{dataset}"),
    log:
        "logs/download-{dataset}.log",
    container:
        IMAGE
    resources:
        **machines("download"),
    params:
        command=command("download"),
        force=forced("download"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run download-{wildcards.dataset:q} {params.force} \
            --marker {output.raw:q}
        """


rule tokenizer:
    """Train a model's tokenizer, or fetch it: sections `source` and `tokenizer`, or one of them.

    python scripts/launch.py python scripts/create_tokenizer.py
        --config … --sections … [--raw …] --output …
    """
    input:
        raw=reads("tokenizer", "raw"),
    output:
        tokenizer=artifact("tokenizers/{model}"),
    log:
        "logs/tokenizer-{model}.log",
    container:
        IMAGE
    resources:
        **machines("tokenizer"),
    params:
        command=command("tokenizer"),
        force=forced("tokenizer"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run tokenizer-{wildcards.model:q} {params.force} \
            --marker {output.tokenizer:q}
        """


rule model:
    """Initialise a base model, or fetch it: section `init` or `source`.

    python scripts/launch.py python scripts/create_model.py
        --config … --sections … --tokenizer … --output …
    """
    input:
        tokenizer=reads("model", "tokenizer"),
    output:
        model=artifact("models/{model}"),
    log:
        "logs/model-{model}.log",
    container:
        IMAGE
    resources:
        **machines("model"),
    params:
        command=command("model"),
        force=forced("model"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run model-{wildcards.model:q} {params.force} \
            --marker {output.model:q}
        """


rule process:
    """Tokenize, mask and split a raw dataset, mix processed ones, or take one over: section `processing`, `mixture` or `source`.

    python scripts/launch.py python scripts/create_dataset.py
        --config … --sections … [--raw …] [--tokenizer …] [--datasets …] --output … --statistics …
    """
    input:
        raw=reads("process", "raw"),
        tokenizer=reads("process", "tokenizer"),
        datasets=reads("process", "datasets"),
    output:
        dataset=artifact("data/processed/{dataset}"),
    log:
        "logs/process-{dataset}.log",
    container:
        IMAGE
    resources:
        **machines("process"),
    params:
        command=command("process"),
        force=forced("process"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run process-{wildcards.dataset:q} {params.force} \
            --marker {output.dataset:q}
        """


rule pack:
    """Pack or join the rows of a processed dataset, once for all trainings that take them so: lengths in the command.

    python scripts/launch.py python scripts/pack_dataset.py
        --dataset … --strategy … [--seq_length …] --output … --metrics …
    """
    input:
        dataset=reads("pack", "dataset"),
    output:
        rows=artifact("data/packed/{packed}"),
    log:
        "logs/pack-{packed}.log",
    container:
        IMAGE
    resources:
        **machines("pack"),
    params:
        command=command("pack"),
        force=forced("pack"),
    shell:
        r"""
        # {params.command}
        python workflow/pipeline run pack-{wildcards.packed:q} {params.force} \
            --marker {output.rows:q}
        """
