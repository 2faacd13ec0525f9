"""Print what torch says of itself and its GPUs as JSON. A program of its own: CUDA can crash or hang the process."""

import json

import torch


def main() -> None:
    available = torch.cuda.is_available()
    nccl = torch.cuda.nccl.version() if torch.version.cuda and torch.distributed.is_nccl_available() else None
    facts = {
        "cuda": torch.version.cuda,
        "available": available,
        "reason": None if available else why_not(),
        "architectures": torch.cuda.get_arch_list(),
        "nccl": ".".join(map(str, nccl)) if nccl else None,
    }
    print(json.dumps(facts))


def why_not() -> str | None:
    """Return what torch says where it can use no GPU: the driver is too old, the build has no CUDA …"""
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as failure:
        return str(failure).strip().splitlines()[0].rstrip(".")
    return None


if __name__ == "__main__":
    main()
