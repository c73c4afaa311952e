"""Mask the values of rows and parameters in the error texts of databases, which may be secrets or personal data.

The texts are those of PostgreSQL, MySQL and SQLite in English, and of asyncpg, psycopg and SQLAlchemy; the details of
PostgreSQL in other languages are masked as a whole. Names of tables, columns and constraints stay.
"""

from __future__ import annotations

import re

from scalekit.config.password_mask import MASK

_QUOTE = r"\\*[\"']"  # escaped within JSON and the representation of texts
_LINE = r"(?:\\n|\n)"
_NEXT = r"(?:\[SQL|\[parameters|HINT:|CONTEXT:|\(Background|Traceback|File |The above|During )"
_END = rf"(?={_LINE}\s*{_NEXT}|\Z)"
"""The end of a value, which may contain line ends. It always exists, so that the time is linear."""
_LAST_QUOTE = rf"(?:\2(?=\s*(?:{_LINE}|\)|\Z|\\*[\"']))|{_END})"
_KEY = r"Key \([^\n]{0,200}?\)=\("
_OTHER_KEY = r"key \([^\n]{0,200}?\)=\("
"""The existing key, which a constraint of exclusion names too."""
_OUTCOME = r"\) (?:already exists|is not present in|is still referenced|is referenced|conflicts with|is duplicated)"

_CLOSED = rf"\)\.(?=\s*(?:{_LINE}|\\*[\"']|\Z))"
"""The end of a list of values, of which each may contain a parenthesis and a full stop."""

_HINTS = (
    "DETAIL:",
    "Key (",
    "Failing row",
    "query argument",
    "invalid ",
    "out of range",
    "malformed ",
    "at or near",
    "unrecognized token",
    "Duplicate entry",
    "ncorrect ",
    "near '",
    "[SQL:",
    "[parameters:",
    "does not appear to be",
    "is not among the defined",
    "parse ",
    "LINE ",
)
_LITERAL = re.compile(r"'(?:[^']|'')*(?:'|\Z)")


def _pattern(before: str, value: str) -> re.Pattern[str]:
    """Return the pattern of *value* after the text *before*, which is kept."""
    return re.compile(f"({before}){value}", re.DOTALL)


_QUOTED = (
    r"\b(?:invalid input syntax for (?:type )?[\w ]{1,60}|invalid input value for enum [^:\n]{1,200}"
    r"|malformed \w{1,20} literal|field value out of range|invalid hexadecimal \w{1,20}|invalid regular expression"
    r"|unrecognized token): "
)
_NOT_MASKED = rf"(?!\s*Process \d|\s*{_KEY}\*\*\*\) |\s*Failing row contains \(\*\*\*\))"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_pattern(rf"\b{_KEY}", rf".*?(?=({_OUTCOME})|{_END})"), rf"\1{MASK}"),
    (_pattern(rf"\b{_OTHER_KEY}", rf".*?(?=({_CLOSED})|{_END})"), rf"\1{MASK}"),
    (_pattern(r"\bFailing row contains \(", rf".*?(?=({_CLOSED})|{_END})"), rf"\1{MASK}"),
    (_pattern(rf"DETAIL:{_NOT_MASKED}\s{{1,9}}", f".*?{_END}"), rf"\1{MASK}"),
    (
        _pattern(
            r"\binvalid input for query argument \$\d+(?: in element #\d+ of executemany\(\) sequence)?: ",
            rf".*?(?:\)(?={_LINE}|\\*[\"']|\Z)|{_END})",
        ),
        rf"\1{MASK}",
    ),
    (_pattern(_QUOTED, rf"({_QUOTE})(?!{re.escape(MASK)}\2).*?{_LAST_QUOTE}"), rf"\1\2{MASK}\2"),
    (
        _pattern(r"\bat or near ", rf"({_QUOTE})(?!\w{{1,63}}\2|[;,()]\2|{re.escape(MASK)}\2).*?{_LAST_QUOTE}"),
        rf"\1\2{MASK}\2",
    ),
    (_pattern(r"\bvalue ", rf"({_QUOTE})[^\n]{{0,200}}?\2(?= is out of range)"), rf"\1\2{MASK}\2"),
    (_pattern(r"\binvalid UUID ", r"(['\"])[^\n]{0,200}?\2(?=:)"), rf"\1\2{MASK}\2"),
    (_pattern(r"\bDuplicate entry '", rf".*?(?='( for key)|{_END})"), rf"\1{MASK}"),
    (_pattern(r"\b[Ii]ncorrect [\w ]{1,60} value: '", rf".*?(?='( for (?:column|function))|{_END})"), rf"\1{MASK}"),
    (_pattern(r"\bsyntax to use near '", rf".*?(?='( at line)|{_END})"), rf"\1{MASK}"),
    (_pattern("", r"(['\"])[^\n]{0,200}?\2(?= (?:is not among the defined enum|does not appear to be an IPv))"), MASK),
    (_pattern(r"\b[Cc]ouldn't parse [\w ]{1,40} '", r"[^\n]*'"), rf"\1{MASK}'"),
    (_pattern(r"(?:\b|\\n)LINE \d{1,9}: ", rf"(?:(?!{_LINE}).){{0,500}}(?={_LINE} *\^)"), rf"\1{MASK}"),
    (_pattern(r"\[parameters: ", r"[^\n]*"), rf"\1{MASK}]"),
)
_SQL = re.compile(rf"\[SQL: .*?(?=\]\s*{_LINE}?\s*(?:\[parameters|\(Background)|{_END})", re.DOTALL)


def mask_database_values(text: str) -> str:
    """Return *text* with ``***`` in place of values in errors of databases."""
    for hint in _HINTS:
        if hint in text:
            break
    else:
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return _SQL.sub(lambda match: _LITERAL.sub("?", match[0]), text)
