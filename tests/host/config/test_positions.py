from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.config.positions import Path, positions

SAMPLE = '''\
# a comment with [brackets] and = signs
title = "x"
"quoted key".'literal' = 1

[server] # a remark
allowed_hosts = [ "a", # [not] a table
  "b]",
  """
many = "lines"
""", { inline = 1, deep.er = [ 2 ] } ]
when = 1979-05-27 07:32:00

[[rules]]
path = \'\'\'
[still] a string\'\'\'
[rules.inner]
z = 1
[[rules]]
path = "/b"
'''


def test_every_key_has_its_line() -> None:
    assert positions(SAMPLE) == {
        ("title",): 2,
        ("quoted key",): 3,
        ("quoted key", "literal"): 3,
        ("server",): 5,
        ("server", "allowed_hosts"): 6,
        ("server", "allowed_hosts", 0): 6,
        ("server", "allowed_hosts", 1): 7,
        ("server", "allowed_hosts", 2): 8,
        ("server", "allowed_hosts", 3): 10,
        ("server", "allowed_hosts", 3, "inline"): 10,
        ("server", "allowed_hosts", 3, "deep"): 10,
        ("server", "allowed_hosts", 3, "deep", "er"): 10,
        ("server", "allowed_hosts", 3, "deep", "er", 0): 10,
        ("server", "when"): 11,
        ("rules",): 13,
        ("rules", 0): 13,
        ("rules", 0, "path"): 14,
        ("rules", 0, "inner"): 16,
        ("rules", 0, "inner", "z"): 17,
        ("rules", 1): 18,
        ("rules", 1, "path"): 19,
    }


@pytest.mark.parametrize("text", ["", "\n\n# nothing\n", "a = 1", "a=1\r\n[b]\r\nc=2\r\n"])
def test_small_documents_are_scanned(text: str) -> None:
    assert set(positions(text)) == set(_paths(tomllib.loads(text)))


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
SCALARS = st.one_of(
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.times(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)
TABLES = st.dictionaries(WORDS, VALUES, max_size=4)
DOCUMENTS = st.dictionaries(WORDS, SCALARS | st.lists(TABLES, min_size=1, max_size=3) | TABLES, max_size=5)


@given(DOCUMENTS, st.integers(0, 2**32))
def test_the_scan_finds_the_same_paths_as_tomllib(document: dict[str, Any], style: int) -> None:
    text = _write(document, style)
    assert tomllib.loads(text) == document
    assert set(positions(text)) == set(_paths(document))


def _paths(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict):
        inner = [found for key, each in value.items() for found in _paths(each, (*path, key))]
    elif isinstance(value, list):
        inner = [found for index, each in enumerate(value) for found in _paths(each, (*path, index))]
    else:
        inner = []
    return [*([path] if path else []), *inner]


def _write(document: dict[str, Any], style: int) -> str:
    """Write *document* as TOML, with the many spellings of strings and layout chosen by the bits of *style*."""
    scalars = {key: value for key, value in document.items() if not _is_tables(value)}
    lines = [f"{_string(key, 0)} = {_value(value, style)}" for key, value in scalars.items()]
    for key, value in document.items():
        tables: list[Any] = (
            value if isinstance(value, list) and _is_tables(value) else [value] * isinstance(value, dict)
        )
        for table in tables:
            brackets = ("[[", "]]") if isinstance(value, list) else ("[", "]")
            lines.append(f"{brackets[0]} {_string(key, 0)} {brackets[1]} # = [x]")
            lines += [f"  {_string(name, 0)}={_value(each, style)}" for name, each in table.items()]
    return "\n".join(lines)


def _is_tables(value: Any) -> bool:
    return isinstance(value, dict) or (
        bool(value) and isinstance(value, list) and all(isinstance(v, dict) for v in value)
    )


def _value(value: Any, style: int) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value, style)
    if isinstance(value, list):
        gap = "\n # ]\n" if style & 4 else " "
        return f"[{gap}{f' ,{gap}'.join(_value(each, style) for each in value)}{gap}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_string(key, 0)} = {_value(each, style)}" for key, each in value.items()) + "}"
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _string(text: str, style: int) -> str:
    plain = text.isprintable()
    if style & 1 and plain and "'" not in text:
        return f"'{text}'"
    if style & 2 and plain and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    escaped = "".join(char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
    if style & 8:
        return f'"""\n{escaped}"""'
    return f'"{escaped}"'
