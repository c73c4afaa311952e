"""Find the line of each key of a TOML document, for error messages.

``tomllib`` returns values without positions. It has parsed the text before, so the text is valid and the scan only
separates keys from values. Grammar: https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_KEY = re.compile(r"""[ \t]*("(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING = re.compile(r'\"\"\"(?:\\.|[^\\])*?\"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_BARE = re.compile(r"[^,\]}#\r\n]+")


def positions(text: str) -> dict[Path, int]:
    """Return the line, counted from 1, of each table, key and array element of *text*.

    For a key on several lines, such as a table with sub-tables, it is the first line.
    """
    return Scan(text).run()


def scan_prefix(text: str) -> Scan:
    """Return the scan of *text*, which may be incomplete or declare a key twice, up to the first error."""
    scan = Scan(text + "\n")
    try:
        scan.run()
    except (IndexError, tomllib.TOMLDecodeError):  # the text ends inside a key or value
        pass
    return scan


class Scan:
    """Reads keys and skips values; *lines* has the first line of each path, *last* is the last path read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.last: Path = ()
        self.tables: set[Path] = set()
        self.at = 0
        self.line = 1
        self.counted = 0
        self.lines: dict[Path, int] = {}
        self.lengths: dict[Path, int] = {}

    def is_table(self, path: Path) -> bool:
        """Return whether *path* is a table with a header."""
        return path in self.tables

    def run(self) -> dict[Path, int]:
        """Scan the text and return *lines*."""
        table: Path = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found.group() if found else ""

    def _mark(self, path: Path) -> None:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        self.last = path
        for size in range(1, len(path) + 1):
            self.lines.setdefault(path[:size], self.line)

    def _key(self) -> Path:
        names: list[str] = []
        while not names or self.text[self.at] == ".":
            self.at += bool(names)
            word = self._skip(_KEY).strip()
            names.append(next(iter(tomllib.loads(f"{word} = 0"))))
        return tuple(names)

    def _header(self) -> Path:
        array = self.text.startswith("[[", self.at)
        self.at += 1 + array
        names = self._key()
        path: Path = ()
        for name in names[:-1]:
            path = self._newest((*path, name))
        path = (*path, names[-1])
        if array:
            self.lengths[path] = self.lengths.get(path, 0) + 1
        path = self._newest(path)
        self._mark(path)
        self.tables.add(path)
        self.at += 1 + array
        return path

    def _newest(self, path: Path) -> Path:
        return (*path, self.lengths[path] - 1) if path in self.lengths else path

    def _pair(self, table: Path) -> None:
        path = (*table, *self._key())
        self._mark(path)
        self.at += 1
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self._members(path, "]")
        elif opening == "{":
            self._members(path, "}")
        elif not self._skip(_STRING):
            self._skip(_BARE)

    def _members(self, path: Path, closing: str) -> None:
        self.at += 1
        self._skip(_BLANK)
        index = 0
        while self.text[self.at] != closing:
            if closing == "}":
                self._pair(path)
            else:
                self._mark((*path, index))
                self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            self.at += self.text[self.at] == ","
            self._skip(_BLANK)
        self.at += 1
