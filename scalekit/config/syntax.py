"""Say of a file that is not TOML what to change: which key, where it stands first, which quotes are missing."""

from __future__ import annotations

import re
import tomllib

from scalekit.config.mask import is_secret_name
from scalekit.config.positions import Path, scanned

_PAIR = re.compile(r"""\s*(?P<key>[A-Za-z0-9_.-]+|"[^"]*"|'[^']*')\s*(?P<sign>[=:])\s*(?P<value>.*?)\s*$""")
_WORD = re.compile(r"(?P<word>[0-9][0-9.]*[A-Za-z%/][A-Za-z0-9/]*)\s*(?:#.*)?")
_LIST = re.compile(r"""\s*(?P<key>[A-Za-z0-9_.-]+|"[^"]*"|'[^']*')\s*=\s*\[""")
_SECOND = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s;,"'\[{]+)\s*[;,\s]\s*[A-Za-z0-9_.-]+\s*=(?!=).*""")
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
    if line.lstrip().startswith(("//", ";")):
        return "not valid TOML: a comment begins with #", number
    if message.startswith(("Unescaped", "Invalid hex value", "Escaped character")):
        return r"a backslash in double quotes begins an escape; write \\, or put the text in single quotes", number
    if found and found["sign"] == ":":
        return f"not valid TOML: write {found['key']} = with an equals sign in place of the colon", number
    if opened := _open_list(lines[:number]):
        return opened, number
    if found and message.startswith(("Invalid value", "Expected newline", "Invalid initial")):
        return _value(found["key"], found["value"], message), number
    return f"not valid TOML: {message[:1].lower()}{message[1:]}", number


def _open_list(lines: list[str]) -> str:
    """Return the message for a list that is open at the end of *lines*, empty where none is."""
    for number in range(len(lines), 0, -1):
        line = re.sub(r"\s+#.*$", "", lines[number - 1]).rstrip()
        begun, is_last = _LIST.match(line), number == len(lines)
        if line.endswith("]") and not is_last:
            break
        if begun:
            where = "" if is_last else f" that begins in line {number}"
            return f"{begun['key']}: in the list{where} text stands in quotes, commas between values, and ] at the end"
        if not is_last and (line.lstrip().startswith("[") or _PAIR.fullmatch(line)):
            break
    return ""


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
    marks = [lines[each - 1].lstrip()[:2] for each in (before.lines[path], number)]
    if all(mark.startswith("[") for mark in marks) and marks.count("[[") == 1:
        name = _named(path)
        return f"the table [{name}] is also written [[{name}]], {where}; write [[{name}]] above each of several"
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
    if text.lower() in ("null", "none", "nil"):
        return f"{key}: TOML has no {text}; leave the key out"
    if text.startswith("{"):
        rule = "an inline table stands in one line, with text in quotes and commas only between its keys"
        return f"{key}: {rule}; or write [{key}] above its keys"
    if _SECOND.fullmatch(text):
        return f"{key}: each key stands in a line of its own"
    if re.fullmatch(r"[+-]?0[0-9_]+", text):
        return f"{key}: a number begins with no 0"
    if text[0] in "\"'[":
        return f"not valid TOML: {message[:1].lower()}{message[1:]}"
    word = _WORD.fullmatch(text)
    example = word["word"] if word and not is_secret_name(key.rpartition(".")[2]) else "..."
    return f'{key}: text stands in quotes; write {key} = "{example}"'


def _named(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))
