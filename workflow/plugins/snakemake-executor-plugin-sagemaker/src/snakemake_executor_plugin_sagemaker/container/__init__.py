"""The inside of a training job: `python -m snakemake_executor_plugin_sagemaker.container PREFIX JOB_FILE [KMS_KEY]`.

PID 1 of every host. It needs the standard library and boto3 alone; the Snakemake that it starts is that of the image.
"""
