"""Explain TOML syntax errors with their remedy: missing quotes, duplicate keys, open lists."""

from __future__ import annotations

import re
import tomllib

from scalekit.config.password_mask import is_secret_name
from scalekit.config.positions import Path, scan_prefix

_PAIR = re.compile(r"""\s*(?P<key>[A-Za-z0-9_.-]+|"[^"]*"|'[^']*')\s*(?P<sign>[=:])\s*(?P<value>.*?)\s*$""")
_WORD = re.compile(r"(?P<word>[0-9][0-9.]*[A-Za-z%/][A-Za-z0-9/]*)\s*(?:#.*)?")
_LIST = re.compile(r"""\s*(?P<key>[A-Za-z0-9_.-]+|"[^"]*"|'[^']*')\s*=\s*\[""")
_SECOND = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s;,"'\[{]+)\s*[;,\s]\s*[A-Za-z0-9_.-]+\s*=(?!=).*""")
_SWITCHES = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}


def explain(text: str, error: tomllib.TOMLDecodeError) -> tuple[str, int]:
    """Return the message and the line of the syntax *error* in *text*; secret values are not shown."""
    message, _, place = str(error).removesuffix(")").partition(" (at ")
    digits = [word.rstrip(",") for word in place.split() if word.rstrip(",").isdigit()]
    lines = text.split("\n")
    number = int(digits[0]) if digits else len(lines)
    line = lines[number - 1] if number <= len(lines) else ""
    if message.startswith(("Cannot declare", "Cannot overwrite", "Cannot mutate", "Duplicate inline")):
        return _explain_duplicate(lines, number, message), number
    found = _PAIR.fullmatch(line)
    if message.startswith("Illegal character '\\n'"):
        return "a string is not closed; end it with the quote that it starts with", number
    if line.lstrip().startswith(("//", ";")):
        return "not valid TOML: a comment starts with #", number
    if message.startswith(("Unescaped", "Invalid hex value", "Escaped character")):
        return r"a backslash in double quotes starts an escape; write \\, or put the text in single quotes", number
    if found and found["sign"] == ":":
        return f"not valid TOML: write {found['key']} = with an equals sign instead of the colon", number
    if opened := _explain_open_list(lines[:number]):
        return opened, number
    if found and message.startswith(("Invalid value", "Expected newline", "Invalid initial")):
        return _explain_value(found["key"], found["value"], message), number
    return f"not valid TOML: {message[:1].lower()}{message[1:]}", number


def _explain_open_list(lines: list[str]) -> str:
    """Return the message for a list that is open at the end of *lines*, or an empty string when none is."""
    for number in range(len(lines), 0, -1):
        line = re.sub(r"\s+#.*$", "", lines[number - 1]).rstrip()
        begun, is_last = _LIST.match(line), number == len(lines)
        if line.endswith("]") and not is_last:
            break
        if begun:
            where = "" if is_last else f" that starts in line {number}"
            return f"{begun['key']}: the list{where} is not valid; quote text, separate values by commas, end with ]"
        if not is_last and (line.lstrip().startswith("[") or _PAIR.fullmatch(line)):
            break
    return ""


def _explain_duplicate(lines: list[str], number: int, message: str) -> str:
    """Return the message for the key or table that line *number* declares a second time."""
    before = scan_prefix("\n".join(lines[: number - 1]))
    path = scan_prefix("\n".join(lines[:number])).last
    inline = re.search(r"'([^']*)'", message)
    if message.startswith("Duplicate inline") and inline:
        return f"the key {inline[1]!r} occurs twice in one inline table; remove one"
    while path and path not in before.lines:
        path = path[:-1]
    if not path:
        return f"not valid TOML: {message[:1].lower()}{message[1:]}"
    where = f"first in line {before.lines[path]}"
    marks = [lines[each - 1].lstrip()[:2] for each in (before.lines[path], number)]
    if all(mark.startswith("[") for mark in marks) and marks.count("[[") == 1:
        name = _dotted(path)
        return f"the table [{name}] is also written [[{name}]], {where}; write [[{name}]] above each element"
    is_header = lines[number - 1].lstrip().startswith("[")
    if is_header and (message.startswith("Cannot declare") or before.is_table(path)):
        return f"the table [{_dotted(path)}] occurs twice, {where}; merge the two"
    if message.startswith("Cannot mutate"):
        return f"{_dotted(path)} was closed, {where}; move all of its keys there"
    return f"the key {_dotted(path)!r} occurs twice, {where}; remove one"


def _explain_value(key: str, value: str, message: str) -> str:
    text = re.sub(r"\s+#.*$", "", value)
    if not text or text.startswith("#"):
        return f"{key} has no value; write {key} = VALUE, with text in quotes"
    if text.lower() in _SWITCHES:
        return f"{key}: write {_SWITCHES[text.lower()]}, in lower case, or put text in quotes"
    if text.lower() in ("null", "none", "nil"):
        return f"{key}: TOML has no {text}; remove the key"
    if text.startswith("{"):
        rule = "write an inline table in one line, with text in quotes and commas between its keys"
        return f"{key}: {rule}, or write [{key}] above its keys"
    if _SECOND.fullmatch(text):
        return f"{key}: write each key in its own line"
    if re.fullmatch(r"[+-]?0[0-9_]+", text):
        return f"{key}: a number must not start with 0"
    if text[0] in "\"'[":
        return f"not valid TOML: {message[:1].lower()}{message[1:]}"
    word = _WORD.fullmatch(text)
    example = word["word"] if word and not is_secret_name(key.rpartition(".")[2]) else "..."
    return f'{key}: text needs quotes; write {key} = "{example}"'


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))
