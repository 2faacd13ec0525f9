"""Raw dataset → processed dataset, and what tokenizes it.

Needs   config/datasets/{dataset}.yaml, config/models/{model}.yaml
Gives   data/raw/{dataset}, tokenizers/{model}, models/{model}, data/processed/{dataset}, metrics/data/{dataset}.json
"""


rule download:
    """Fetch a raw dataset, or generate it: scripts/{download,generate}_dataset.py, section `source`."""
    output:
        raw=artifact("data/raw/{dataset}"),
    log:
        "logs/download-{dataset}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("download"),
    params:
        force=forced("download"),
    shell:
        r"""
        python workflow/pipeline run download-{wildcards.dataset:q} {params.force} \
            --marker {output.raw:q}
        """


rule tokenizer:
    """Train a model's tokenizer, or fetch it: scripts/create_tokenizer.py, section `tokenizer` or `source`."""
    input:
        raw=reads("tokenizer", "raw"),
    output:
        tokenizer=artifact("tokenizers/{model}"),
    log:
        "logs/tokenizer-{model}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("tokenizer"),
    params:
        force=forced("tokenizer"),
    shell:
        r"""
        python workflow/pipeline run tokenizer-{wildcards.model:q} {params.force} \
            --marker {output.tokenizer:q}
        """


rule model:
    """Initialise a base model, or fetch it: scripts/create_model.py, section `init` or `source`."""
    input:
        tokenizer=reads("model", "tokenizer"),
    output:
        model=artifact("models/{model}"),
    log:
        "logs/model-{model}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("model"),
    params:
        force=forced("model"),
    shell:
        r"""
        python workflow/pipeline run model-{wildcards.model:q} {params.force} \
            --marker {output.model:q}
        """


rule process:
    """Tokenize, mask and split a raw dataset, or mix processed ones: scripts/create_dataset.py, section `processing` or `mixture`."""
    input:
        raw=reads("process", "raw"),
        tokenizer=reads("process", "tokenizer"),
        datasets=reads("process", "datasets"),
    output:
        dataset=artifact("data/processed/{dataset}"),
    log:
        "logs/process-{dataset}.log",
    conda:
        "../envs/training.yaml"
    container:
        IMAGE
    resources:
        **machines("process"),
    params:
        force=forced("process"),
    shell:
        r"""
        python workflow/pipeline run process-{wildcards.dataset:q} {params.force} \
            --marker {output.dataset:q}
        """
