"""Valid CreateTrainingJob requests for tests to start from."""


def request(name: str, *command: str, **more) -> dict:
    """A valid CreateTrainingJob request that runs `command`."""
    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(command[:1]),
            **({"ContainerArguments": list(command[1:])} if command[1:] else {}),
        },
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **more,
    }


def python(name: str, code: str, **more) -> dict:
    """A request that runs a line of Python."""
    return request(name, "python", "-u", "-c", code, **more)
