"""torchrun for the ranks of one machine, as a program: they meet where no other machine can reach them.

torchrun's own store listens at every address of the machine, whatever `--master-addr` says, and asks nobody for a
password: whoever reaches it becomes a rank. Here it listens on the loopback alone.
"""

import gc
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"


def run(arguments: list[str]) -> None:
    """Run torchrun with the arguments of its command line, of which `--rdzv-backend static` gets a store of its own."""
    gc.disable()  # to look through what imports make, again and again, took half a second (as in heirloom.rank)
    from torch.distributed import TCPStore
    from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
    from torch.distributed.run import main

    gc.freeze()
    gc.enable()
    usual = StaticTCPRendezvous.next_rendezvous

    def next_rendezvous(self: StaticTCPRendezvous):
        if self._store is None:
            with socket.create_server((LOOPBACK, self.master_port)) as listening:
                self._store = TCPStore(
                    *(LOOPBACK, self.master_port, self.world_size, True, self.timeout),
                    multi_tenant=True,
                    master_listen_fd=listening.detach(),
                )
        return usual(self)

    StaticTCPRendezvous.next_rendezvous = next_rendezvous
    with log_folder() as folder:
        main(["--log-dir", folder, *arguments])


@contextmanager
def log_folder() -> Iterator[str]:
    """Give torchrun a folder that ends with the stage's work; its own choice in /tmp stays, also when it is killed."""
    work = os.environ.get("HEIRLOOM_SCRATCH_DIR") or os.environ.get("HEIRLOOM_WORK_DIR")
    if work:
        yield str(Path(work, "torchelastic"))
    else:
        with tempfile.TemporaryDirectory(prefix="torchelastic_") as folder:
            yield folder


if __name__ == "__main__":
    # as `python -m` would: the modules beside this one are not to be found by their short names
    sys.path[0] = str(Path(__file__).resolve().parents[3])
    run(sys.argv[1:])
