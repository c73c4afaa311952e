"""The arguments of a worker or fork server on its command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerArgs:
    """The slot of a worker, and its inherited descriptors: control socket, pipe for stacks after a crash, listeners."""

    slot: str
    control: int
    stacks: int
    listeners: tuple[int, ...]

    @classmethod
    def read(cls, text: str) -> WorkerArgs:
        """Parse the form that :meth:`__str__` returns."""
        slot, control, stacks, listeners = text.split(":")
        return cls(slot, int(control), int(stacks), tuple(map(int, filter(None, listeners.split(",")))))

    def __str__(self) -> str:
        """Return the form for a command line."""
        return f"{self.slot}:{self.control}:{self.stacks}:{','.join(map(str, self.listeners))}"
