"""Print the GPU, its driver's and the libraries' versions as JSON: `python machine_facts.py`. No GPU: {}."""

import importlib.metadata
import json

import torch

PACKAGES = ("torch", "transformers", "trl", "peft", "deepspeed", "accelerate", "bitsandbytes", "datasets")
OPTIONAL = ("liger-kernel", "flash-attn", "flash-attn-3", "triton")


def main() -> None:
    if not torch.cuda.is_available():
        print(json.dumps({}))
        return
    gpu = torch.cuda.get_device_properties(0)
    facts = {"gpu": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    print(json.dumps(facts | {"versions": versions()}))


def versions() -> dict[str, str | None]:
    """Return the installed versions, None for what is missing."""
    found = {}
    for package in (*PACKAGES, *OPTIONAL):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


if __name__ == "__main__":
    main()
