"""What the hosts of a job are made of."""

from enum import StrEnum


class HostKind(StrEnum):
    """NAMESPACES: this machine's programs, in namespaces of their own. PLAIN: this machine's processes.

    IMAGE: containers of a real image, run by podman on this machine's network.
    """

    NAMESPACES = "namespaces"
    PLAIN = "plain"
    IMAGE = "image"

    @property
    def has_own_network(self) -> bool:
        """Whether each host has a network interface and a name of its own, else an address of 127.0.0.0/8."""
        return self is HostKind.NAMESPACES

    def address(self, number: int) -> str:
        """Return the address of host `number` of a kind on the machine's network; no two kinds share their ports."""
        return f"127.0.{1 if self is HostKind.IMAGE else 0}.{number}"

    @property
    def has_own_files(self) -> bool:
        """Whether each host has its own /opt/ml and /tmp."""
        return self is not HostKind.PLAIN
