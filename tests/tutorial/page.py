"""A page of the documentation as its reader follows it: files to write, and commands to type with their output.

- A code block below a line that has only a file name in bold, such as ``**app.py**``, is that file. With
  ``**app.py** (add at the end)`` it is appended.
- A ``console`` block has commands after ``$``, and below each the lines that it prints. ``...`` stands for any text of
  a line, or as a line of its own for any lines. A command that shows no output may print anything.
- A comment ``<!-- not run: reason -->`` before a block excludes it.
- Other ``python`` blocks are fragments, which only have to be Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FILE = re.compile(r"\*\*(?P<name>[\w./-]+\.\w+)\*\*(?P<mode> \(add at the end\))?")
TERMINAL = re.compile(r"\*\*Terminal (?P<number>\d)\*\*")
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
FENCE = re.compile(r"```(?P<language>\S*)")


class Block(NamedTuple):
    """A code block, the number of its first line, and the last line of text before it."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        """Return the page and the line, as editors open them."""
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return NOT_RUN.fullmatch(self.title) is None

    @property
    def file(self) -> str:
        """Return the name of the file that the block is, or "" for other blocks."""
        match = FILE.fullmatch(self.title)
        return match["name"] if match else ""

    @property
    def is_appended(self) -> bool:
        match = FILE.fullmatch(self.title)
        return match is not None and match["mode"] is not None

    @property
    def terminal(self) -> int:
        """Return the number of the terminal for a command that runs until Ctrl-C."""
        match = TERMINAL.fullmatch(self.title)
        return int(match["number"]) if match else 1


class Command(NamedTuple):
    """A command, and the lines that the page shows as its output."""

    place: str
    text: str
    output: list[str]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of the page; raises ValueError when one does not end."""
    title, opening, code = "", None, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if opening is not None:
            if line != "```":
                code.append(line)
                continue
            yield Block(page, number - len(code), opening, title, "".join(f"{each}\n" for each in code))
            title, opening, code = "", None, []
        elif match := FENCE.match(line):
            opening = match["language"]
        elif line:
            title = line
    if opening is not None:
        raise ValueError(f"{page}: the last code block has no end")


def commands(block: Block) -> list[Command]:
    """Return the commands of a ``console`` block; raises ValueError for output without a command."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Command(f"{block.page}:{number}", line.removeprefix("$ "), []))
        elif not found:
            raise ValueError(f"{block.place}: the block begins with output: write the command after $")
        elif found[-1].text.endswith("\\") and not found[-1].output:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}\n{line}")
        else:
            found[-1].output.append(line)
    return found


def shows(expected: list[str], printed: str, *, within: bool = False) -> bool:
    """Return whether *printed* is *expected*, or has it *within* other lines; ``...`` stands for any text."""
    pattern = "".join(map(_pattern, expected))
    text = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return (re.search(f"^{pattern}", text, re.MULTILINE) if within else re.fullmatch(pattern, text)) is not None


def _pattern(line: str) -> str:
    if line == "...":
        return "(?:.*\n)*"
    return ".*".join(re.escape(part) for part in line.rstrip().split("...")) + "\n"
