"""A reader who follows a page in an empty folder: writes its files, types its commands, compares the output."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from socket import socket
from subprocess import TimeoutExpired
from types import TracebackType
from typing import Self

from tests.processes import HOST, Box, Process, free_ports, wait_for
from tests.tutorial.page import Block, Command, blocks, commands, shows

OWN_PORTS = (8000, 8001, 8002, 8080)
"""Ports in the pages on which the reader's own services listen."""
UNTIL_INTERRUPTED = re.compile(r"scalekit run|^nginx |--watch")
LIMIT = 180.0
"""Seconds that a command may take, or a service to start; one that replaces workers takes long on a busy machine."""
IN_FOLDER = """\
exec 2>&1
set -a
cd shop
. ../state
{command}
status=$?
export -p > ../state
exit $status
"""


class WrongPageError(Exception):
    """The page and what happens differ."""


class Reader:
    """Follows pages in one folder, with the programs of *programs*; *servers* are ports of pages and real ones."""

    def __init__(self, servers: Mapping[int, int] | None = None, programs: Path = Path(sys.executable).parent) -> None:
        self.box = Box("reader")
        self.folder = self.box.directory / "shop"
        self.folder.mkdir()
        self.box.write("state", "")
        # Silent as on a terminal, where only a curl with redirected output has a progress meter.
        self.box.write(".curlrc", "silent\nshow-error\nmax-time = 30\n")
        path = f"{programs}:{self.box.environment['PATH']}:/usr/sbin"
        self.box.environment |= {"PATH": path, "PYTHONUNBUFFERED": "1"}
        self.ports = {**dict(zip(OWN_PORTS, free_ports(len(OWN_PORTS)), strict=True)), **(servers or {})}
        self.terminals: dict[int, Process] = {}

    def follow(self, page: Path, *, only_files: bool = False) -> None:
        """Do what the page says from top to bottom, or only write its files; raises WrongPageError."""
        for block in blocks(page):
            if not block.is_run:
                continue
            if block.file:
                self._write(block)
            elif block.language == "console" and not only_files:
                for command in commands(block):
                    self._type(command, block.terminal)
            elif block.language == "python":
                compile(block.text, block.place, "exec")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.terminals.values():
            process.send_signal(signal.SIGINT)  # ends at once; SIGTERM waits for drain_delay
        self.box.__exit__(kind, error, traceback)

    def _write(self, block: Block) -> None:
        file = self.folder / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        before = f"{file.read_text()}\n" if block.is_appended else ""
        file.write_text(before + self._here(block.text))

    def _type(self, command: Command, terminal: int) -> None:
        text = self._here(command.text)
        expected = [self._here(line) for line in command.output]
        if UNTIL_INTERRUPTED.search(text):
            self._start(text, expected, terminal, command.place)
            return
        try:
            done = self.box.run("bash", "-c", IN_FOLDER.replace("{command}", text), check=False, limit=LIMIT)
        except TimeoutExpired as error:
            raise WrongPageError(f"{command.place}: {text}: not within {LIMIT:g} s") from error
        if not expected and done.returncode:
            raise WrongPageError(f"{command.place}: {text}: exit status {done.returncode}\n{done.stdout}")
        if expected and not shows(expected, done.stdout):
            raise WrongPageError(f"{command.place}: {text}\nshown:\n{_lines(expected)}\nprinted:\n{done.stdout}")

    def _start(self, text: str, expected: list[str], terminal: int, place: str) -> None:
        """Start a command that runs until Ctrl-C, after Ctrl-C for the one that runs in the terminal.

        Wait until it has printed what the page shows, or else until it listens.
        """
        if running := self.terminals.get(terminal):
            self.box.stop(running, signal.SIGINT)
        log = self.box.directory / f"terminal-{terminal}.log"
        before, taken = log.stat().st_size if log.exists() else 0, self._taken_ports()
        command = f". ./state; cd shop; exec {text}"
        process = self.box.spawn("bash", "-c", command, log=log.name, death_signal=signal.SIGTERM)
        self.terminals[terminal] = process

        def is_ready() -> bool:
            return shows(expected, printed(), within=True) if expected else self._taken_ports() > taken

        def printed() -> str:
            return log.read_bytes()[before:].decode()

        try:
            wait_for(f"the output of {text}", is_ready, process, LIMIT)
        except Exception as error:
            raise WrongPageError(f"{place}: {text}\nshown:\n{_lines(expected)}\nprinted:\n{printed()}") from error

    def _taken_ports(self) -> set[int]:
        return {port for port in OWN_PORTS if _listens(self.ports[port])}

    def _here(self, text: str) -> str:
        """Return *text* with the ports of this machine instead of those of the page."""
        for port, real in self.ports.items():
            text = re.sub(rf"(?<!\d){port}(?!\d)", str(real), text)
        return text


def _listens(port: int) -> bool:
    with socket() as connection:
        return connection.connect_ex((HOST, port)) == 0


def _lines(lines: list[str]) -> str:
    return "\n".join(lines)
