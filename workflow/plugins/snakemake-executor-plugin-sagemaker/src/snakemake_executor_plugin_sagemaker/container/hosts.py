"""The hosts of a training job, as SageMaker describes them in /opt/ml/input/config/resourceconfig.json."""

import json
import os
from dataclasses import dataclass
from pathlib import Path


def ml_root() -> Path:
    """Return /opt/ml; SM_ML_ROOT names another place where a test cannot have that one."""
    return Path(os.environ.get("SM_ML_ROOT", "/opt/ml"))


@dataclass(frozen=True)
class Hosts:
    """All hosts in the order of their numbers, this one, and the network interface between them."""

    names: tuple[str, ...]
    current: str
    interface: str
    instance_type: str

    @classmethod
    def read(cls, root: Path) -> "Hosts":
        """Read SageMaker's description below ROOT."""
        found = json.loads((root / "input/config/resourceconfig.json").read_text(encoding="utf-8"))
        return cls(
            # By number: algo-10 comes after algo-2, though SageMaker sorts it before.
            tuple(sorted(found["hosts"], key=lambda name: (len(name), name))),
            found["current_host"],
            found.get("network_interface_name", "eth0"),
            found.get("current_instance_type", ""),
        )

    @property
    def head(self) -> str:
        """The host that runs the Snakemake job."""
        return self.names[0]

    @property
    def is_head(self) -> bool:
        """Whether this host is the head."""
        return self.current == self.head

    @property
    def rank(self) -> int:
        """This host's place, 0 for the head."""
        return self.names.index(self.current)

    def variables(self) -> dict[str, str]:
        """Return the SM_* variables that AWS's own containers have, and the interface for NCCL and Gloo."""
        variables = {
            "SM_HOSTS": json.dumps(self.names),
            "SM_CURRENT_HOST": self.current,
            "SM_CURRENT_HOST_RANK": str(self.rank),
            "SM_CURRENT_INSTANCE_TYPE": self.instance_type,
            "SM_HOST_COUNT": str(len(self.names)),
            "SM_MASTER_ADDR": self.head,
            "SM_NETWORK_INTERFACE_NAME": self.interface,
        }
        if len(self.names) > 1:
            variables |= {"NCCL_SOCKET_IFNAME": self.interface, "GLOO_SOCKET_IFNAME": self.interface}
        return variables
