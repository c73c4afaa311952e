"""What a worker is told on its command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerArgs:
    """Which worker this process is, and what it was given: sockets, and a pipe for its stacks when it crashes."""

    slot: str
    control: int
    stacks: int
    listeners: tuple[int, ...]

    @classmethod
    def read(cls, text: str) -> WorkerArgs:
        """Return the place that :meth:`__str__` wrote."""
        slot, control, stacks, listeners = text.split(":")
        return cls(slot, int(control), int(stacks), tuple(map(int, filter(None, listeners.split(",")))))

    def __str__(self) -> str:
        """Return the form for a command line."""
        return f"{self.slot}:{self.control}:{self.stacks}:{','.join(map(str, self.listeners))}"
