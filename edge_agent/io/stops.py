"""What the city has stopped: commands that the publisher brings, believed by their signature alone.

Vision asks for them; the publisher keeps the newest of each target in the ledger, so that they hold
after a restart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.wire import codec
from edge_agent.wire.messages import FLEET, Stop

IsSigned = Callable[[bytes, bytes], bool]


@dataclass(slots=True)
class Stops:
    """The newest command of each target.

    Attributes:
        device: whose commands are obeyed, besides those to the fleet.
        is_signed: whether the city's command key signed bytes; None where there is no such key.
    """

    device: str
    is_signed: IsSigned | None
    _newest: dict[str, Stop] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """What is asked for; nothing where no command could be believed."""
        return () if self.is_signed is None else (FLEET, self.device)

    def take(self, target: str, sealed: bytes) -> bool:
        """Take a command in; return whether anything is stopped or lifted by it.

        One that is not signed, for somebody else, or not newer is left out.
        """
        if self.is_signed is None:
            return False
        try:
            stop = codec.unseal_stop(sealed, self.is_signed)
        except codec.WireError:
            return False
        if stop.target != target or target not in self.targets:
            return False
        if stop.number <= self.number(target):
            return False
        before = self.state
        self._newest[target] = stop
        return self.state != before

    def number(self, target: str) -> int:
        """Return the number of a target's newest command; 0 for none."""
        newest = self._newest.get(target)
        return 0 if newest is None else newest.number

    @property
    def everything(self) -> bool:
        """Whether the camera must be closed."""
        return any(stop.everything for stop in self._newest.values())

    @property
    def modules(self) -> frozenset[str]:
        """Modules that must be off."""
        return frozenset(name for stop in self._newest.values() for name in stop.modules)

    @property
    def state(self) -> tuple[bool, frozenset[str]]:
        """Both, to be compared."""
        return self.everything, self.modules
