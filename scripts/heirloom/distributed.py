"""Ranks: how many there are, which one this is, and how DeepSpeed starts on them.

torchrun tells each rank by the environment (RANK, WORLD_SIZE, LOCAL_RANK); a script without torchrun is one rank.
"""

import gc
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

import heirloom.rank
from heirloom.errors import HeirloomError

if TYPE_CHECKING:
    from accelerate import PartialState

ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
ALONE |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # 0: any port that is free
"""What torchrun would tell a rank that has no others: DeepSpeed wants to be told."""
LARGEST_GATHERED = 1 << 31
"""Bytes that a rank may offer to the others."""
WHO = "somebody else can reach the ports of this training: run it where nobody can (SECURITY.md)"


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_rank() -> bool:
    return rank() == 0


def say(line: str) -> None:
    """Print a line at once, on the main rank."""
    if is_main_rank():
        print(line, flush=True)


def is_first_rank_of_host() -> bool:
    """Say whether this rank does what each host needs once, such as files in a folder that hosts do not share."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def host_number() -> int:
    """Return which of the hosts this rank is on, 0 for the first: a name for what each host keeps for itself."""
    return int(os.environ.get("GROUP_RANK", "0"))


def on_cpu() -> bool:
    """Say whether ranks compute on the CPU: where there is no GPU."""
    return not torch.cuda.is_available()


def barrier() -> None:
    """Wait until every rank is here; nothing happens without ranks."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def gathered(value: Any) -> list[Any]:
    """Return the values that all ranks call this with, in the order of the ranks. Every rank calls it.

    `value` is what JSON holds, and comes back as such (a tuple as a list). torch's own collectives of objects carry
    pickles: whoever got into the group of ranks would run code in all of them. Raises HeirloomError for what is no
    value of a rank of ours.
    """
    if not torch.distributed.is_initialized():
        return [value]
    data = json.dumps(value).encode()
    device = torch.device("cpu") if on_cpu() else torch.device("cuda", torch.cuda.current_device())
    sizes = all_gathered(torch.tensor([len(data)], dtype=torch.int64, device=device))
    longest = int(max(sizes))
    if longest > LARGEST_GATHERED or int(min(sizes)) < 1:
        raise HeirloomError(
            f"a rank offers {longest:,} bytes to all others, at most {LARGEST_GATHERED:,} are taken; {WHO}"
        )
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    rows = all_gathered(padded)
    try:
        return [json.loads(row[: int(size)].numpy().tobytes()) for row, size in zip(rows, sizes, strict=True)]
    except (ValueError, RecursionError) as error:
        raise HeirloomError(f"what a rank sent to all others is no value of ours; {WHO}") from error


def all_gathered(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return the tensors of all ranks, which have the same shape; on the CPU again."""
    found = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(found, tensor)
    return [each.cpu() for each in found]


def gathered_rows(rows: list[Any]) -> list[Any]:
    """Return the rows of all ranks in one list, those of the first rank first. As `gathered`."""
    return [row for of_rank in gathered(rows) for row in of_rank]


def on_every_rank(names: Iterable[str]) -> set[str]:
    """Return the names that all ranks call this with: what is there on every host. Every rank calls it."""
    return set.intersection(*map(set, gathered(sorted(names))))


def start_rank() -> None:
    """Fix what decides a rank's arithmetic, and have its errors printed in one piece. Raises HeirloomError as below."""
    sys.excepthook = print_trace_at_once
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed|transformers")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # whatever a library asks for: no file of states runs code
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    if "RANK" not in os.environ:
        os.environ |= ALONE
    check_device()
    if on_cpu():
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    heirloom.rank.imports_done()


def waiting_ranks() -> "PartialState":
    """Start the ranks of a program in which each works apart, and return them: one that is done waits for the slowest.

    For a day, where NCCL's own patience is ten minutes; torchrun ends all of them when one fails.
    """
    from accelerate import PartialState

    return PartialState(cpu=on_cpu(), timeout=timedelta(days=1))


def check_device() -> None:
    """Raise HeirloomError, with torch's own reason, when the launcher has promised a GPU that torch cannot use.

    Libraries take the CPU then without a word: hours at the price of GPUs, and a record that says "gpu".
    """
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if os.environ.get("HEIRLOOM_DEVICE") != "gpu" or (not on_cpu() and number < torch.cuda.device_count()):
        return
    try:
        torch.cuda.init()
        reason = f"it finds {torch.cuda.device_count()} of them"
    except (AssertionError, RuntimeError) as failure:  # "not compiled with CUDA enabled", "driver is too old" …
        reason = str(failure).strip().splitlines()[0].rstrip(".")
    raise HeirloomError(
        f"GPU {number} of this machine was promised to this rank, and torch {torch.__version__} (CUDA "
        f"{torch.version.cuda}) cannot use it: {reason}; see `make doctor`, renew the driver or take a torch of an "
        "older CUDA (TORCH_VARIANT in docs/image.md), or set CUDA_VISIBLE_DEVICES= (empty) to want the CPU"
    )


def start_deepspeed() -> None:
    """Start DeepSpeed's communication on the ranks that the trainer's arguments have started already.

    Call it after the arguments are made and before a model is loaded: ZeRO-3 shards a model while it loads, and on
    the CPU the arguments start plain torch.distributed only, which would leave DeepSpeed with a world of one.
    DeepSpeed's own shared-memory operator is left out: it would be compiled for a minute and a half at first use.
    """
    gc.disable()
    import deepspeed

    if on_cpu():
        with without_compiler():
            import deepspeed.runtime.zero.muon.original_muon
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    torch.serialization.add_safe_globals(plain_parts_of_states())
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
    heirloom.rank.imports_done()


def plain_parts_of_states() -> list[type]:
    """Return DeepSpeed's classes in its checkpoints, beside tensors and plain values; none does anything when read.

    Its enumeration is written by value from now on: the Python of Debian 12 (3.11.2) writes a member as a call of
    getattr, which could be any code and is refused.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    ZeroStageEnum.__reduce_ex__ = by_value
    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]


def by_value(member: Enum, _protocol: int) -> tuple[type, tuple[Any]]:
    """Return how pickle is to write a member of an enumeration: its class and its value."""
    return type(member), (member.value,)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Let `torch.compile` return functions as they are: DeepSpeed's Muon decorates some with it when it is imported,
    which loads torch's whole compiler (0.5 s of CPU a rank), whether Muon is used or not.
    """
    compiler = torch.compile
    torch.compile = lambda function=None, **_: function or (lambda decorated: decorated)
    try:
        yield
    finally:
        torch.compile = compiler


def print_trace_at_once(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write an error's trace in one go, so that the traces of two ranks do not mix line by line."""
    lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
    prefix = "" if is_main_rank() else f"[rank{rank()}]: "
    sys.stderr.write("".join(f"{prefix}{line}\n" for line in lines))
    sys.stderr.flush()
