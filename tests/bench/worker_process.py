"""A process that repeats an operation and reports the cost of one repetition."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence


class WorkerProcess:
    """A process of *command*, which prints a line of JSON when it is ready, and one for each number on its input."""

    def __init__(self, title: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.title = title
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> WorkerProcess:
        self._line()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def repeat(self, number: int) -> dict[str, float]:
        """Repeat it *number* times and return the seconds of one, of CPU and on the wall."""
        print(number, file=self.process.stdin, flush=True)
        reply = self._line()
        if reply.get("wrong"):
            raise RuntimeError(f"{self.title}: {reply['wrong']} responses had another status than expected")
        return reply

    def _line(self) -> dict[str, float]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.title} ended with {self.process.wait()}; its error is above")
        reply: dict[str, float] = json.loads(line)
        return reply
