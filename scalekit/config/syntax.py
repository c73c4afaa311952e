"""Say of a file that is not TOML what to change: which key, where it stands first, which quotes are missing."""

from __future__ import annotations

import re
import tomllib

from scalekit.config.mask import is_secret_name
from scalekit.config.positions import Path, scanned

_PAIR = re.compile(r"""\s*(?P<key>[A-Za-z0-9_.-]+|"[^"]*"|'[^']*')\s*(?P<sign>[=:])\s*(?P<value>.*?)\s*$""")
_WORD = re.compile(r"(?P<word>[0-9][0-9.]*[A-Za-z%/][A-Za-z0-9/]*)\s*(?:#.*)?")
_SWITCHES = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}


def explain(text: str, error: tomllib.TOMLDecodeError) -> tuple[str, int]:
    """Return what is wrong with *text* and the line; nothing of a value is shown that may be a secret."""
    message, _, place = str(error).removesuffix(")").partition(" (at ")
    digits = [word.rstrip(",") for word in place.split() if word.rstrip(",").isdigit()]
    lines = text.split("\n")
    number = int(digits[0]) if digits else len(lines)
    line = lines[number - 1] if number <= len(lines) else ""
    if message.startswith(("Cannot declare", "Cannot overwrite", "Cannot mutate", "Duplicate inline")):
        return _twice(lines, number, message), number
    found = _PAIR.fullmatch(line)
    if message.startswith("Illegal character '\\n'"):
        return "a string is not closed; end it with the sign that it begins with", number
    if message.startswith("Unescaped"):
        return r"a backslash in double quotes begins an escape; write \\, or put the text in single quotes", number
    if found and found["sign"] == ":":
        return f"not valid TOML: write {found['key']} = with an equals sign in place of the colon", number
    if found and message.startswith(("Invalid value", "Expected newline", "Invalid initial")):
        return _value(found["key"], found["value"], message), number
    return f"not valid TOML: {message[:1].lower()}{message[1:]}", number


def _twice(lines: list[str], number: int, message: str) -> str:
    """Return the message for what line *number* declares a second time."""
    before = scanned("\n".join(lines[: number - 1]))
    path = scanned("\n".join(lines[:number])).last
    inline = re.search(r"'([^']*)'", message)
    if message.startswith("Duplicate inline") and inline:
        return f"the key {inline[1]!r} stands twice in one inline table; leave one out"
    while path and path not in before.lines:
        path = path[:-1]
    if not path:
        return f"not valid TOML: {message[:1].lower()}{message[1:]}"
    where = f"first in line {before.lines[path]}"
    is_header = lines[number - 1].lstrip().startswith("[")
    if is_header and (message.startswith("Cannot declare") or before.is_table(path)):
        return f"the table [{_named(path)}] stands twice, {where}; put its keys together"
    if message.startswith("Cannot mutate"):
        return f"{_named(path)} was closed, {where}; put all of its keys there"
    return f"the key {_named(path)!r} stands twice, {where}; leave one out"


def _value(key: str, value: str, message: str) -> str:
    text = re.sub(r"\s+#.*$", "", value)
    if not text or text.startswith("#"):
        return f"{key} has no value; write {key} = and the value, text in quotes"
    if text.lower() in _SWITCHES:
        return f"{key}: write {_SWITCHES[text.lower()]}, in lower case, or put text in quotes"
    if text.startswith("{"):
        return f"{key}: an inline table stands in one line; or write [{key}] above its keys"
    if text[0] in "\"'[":
        return f"not valid TOML: {message[:1].lower()}{message[1:]}"
    word = _WORD.fullmatch(text)
    example = word["word"] if word and not is_secret_name(key.rpartition(".")[2]) else "..."
    return f'{key}: text stands in quotes; write {key} = "{example}"'


def _named(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))
