"""How a rank of a run starts to compute: with which device, which instruction sets, which operations."""

from heirloom.arithmetic.determinism import be_deterministic
from heirloom.arithmetic.instruction_sets import check_portable, leave_for_record
from heirloom.distributed import start_rank


def start_computing(*, portable: bool, deterministic: bool = False) -> None:
    """Start this rank as its run says, and leave for the record what it computes with.

    Raises HeirloomError as `start_rank` and `check_portable` do.
    """
    start_rank()
    if portable:
        check_portable()
    leave_for_record()
    if deterministic:
        be_deterministic()
