"""Snakemake jobs as Amazon SageMaker training jobs: `snakemake --executor sagemaker`.

Snakemake asks this package for `Executor`, `ExecutorSettings` and `common_settings`. They are imported when they are
asked for: inside a training job this package is only the parent of `container`, which needs nothing but boto3.
"""

import importlib

_MODULES = {"Executor": "executor", "ExecutorSettings": "settings", "common_settings": "settings"}
__all__ = ["Executor", "ExecutorSettings", "common_settings"]  # noqa: F822 - provided by __getattr__


def __getattr__(name: str):
    """Import what Snakemake's plugin registry asks for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
