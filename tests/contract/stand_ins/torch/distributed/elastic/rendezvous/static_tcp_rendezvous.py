"""Where ranks would meet."""


class StaticTCPRendezvous:
    def next_rendezvous(self) -> None:
        """Never asked for: the only rank meets nobody."""
