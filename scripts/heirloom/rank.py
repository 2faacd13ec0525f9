"""What a rank does before its heavy imports: tie its life to torchrun's, make them quick and without false alarms.

Import this module first in a script that runs under torchrun, and call `imports_done` after the last import.
"""

import ctypes
import functools
import gc
import importlib.metadata
import logging
import os
import re
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OPTIONAL = {
    "peft": ("peft",),
    "bitsandbytes": ("quantization", "bit", "paged_", "ademamix", "_bnb"),
    "wandb": (),
    "lomo_optim": ("lomo",),
}
"""Libraries that transformers, peft and TRL import when they are installed, needed or not (1.6 s of CPU), and words
without which neither the command line nor the run's file can ask for one. The trackers allow wandb later. For the last
accelerate looks on the disk, twice a step (a hundredth of a small model's step)."""

HARMLESS = {
    # transformers' trainer counts accumulation itself and tells accelerate 1; DeepSpeed's value is the run's own
    "accelerate.accelerator": "Gradient accumulation steps mismatch: GradientAccumulationPlugin has 1,",
    # a faster kernel for 4-bit bases on CPUs, which would come from a hub; the plain one computes the same
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
}
"""Logger of a library → how a warning of its begins that alarms without cause; all its others are heard."""


def die_with_torchrun() -> None:
    """Ask the kernel to kill this rank when torchrun dies, so that a killed launcher leaves no orphan."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = Path(f"/proc/{os.getppid()}/cmdline")
    if parent.is_file() and b"torch" not in parent.read_bytes():  # torch.distributed.run, torchrun, torchrun_here.py
        sys.exit("torchrun died before this rank began")  # another process has adopted it


def unused() -> list[str]:
    """Return the optional libraries that the command line and the file after its `--config` do not ask for."""
    config = next((after for flag, after in zip(sys.argv, sys.argv[1:], strict=False) if flag == "--config"), "")
    text = " ".join(sys.argv)
    if Path(config).is_file():
        text += Path(config).read_text(encoding="utf-8", errors="replace")
    return [name for name, words in OPTIONAL.items() if not any(word in text for word in words)]


def leave_out(*names: str) -> None:
    """Make the libraries `names` look absent to every import that follows, unless they are loaded already."""
    for name in names:
        sys.modules.setdefault(name, None)


def allow(*names: str) -> None:
    """Take back `leave_out` for `names`."""
    for name in names:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]


def remember_packages() -> None:
    """Read what installed packages say of themselves once.

    accelerate parses DeepSpeed's and peft's files several times a step, a millisecond each; transformers and TRL both
    look through those of all packages as they load.
    """
    for name in ("metadata", "version", "packages_distributions"):
        setattr(importlib.metadata, name, functools.cache(getattr(importlib.metadata, name)))


def silence(logger: str, beginning: str) -> None:
    """Drop the records of one logger that begin so, whichever rank accelerate puts before them."""
    begins = re.compile(rf"(\[RANK \d+\] )?{re.escape(beginning)}")
    logging.getLogger(logger).addFilter(lambda record: not begins.match(record.getMessage()))


def imports_done() -> None:
    """Switch the garbage collector on again, and spare it the objects that imports made: they live to the end.

    Looking through them while libraries load and once more at exit took 2 of a rank's 4.5 s of CPU
    (benchmarks/training_start.py).
    """
    gc.freeze()
    gc.enable()


gc.disable()
die_with_torchrun()
leave_out(*unused())
remember_packages()
for _logger, _beginning in HARMLESS.items():
    silence(_logger, _beginning)
