"""Split SQL of PostgreSQL into statements, and ``ALTER TABLE`` into its actions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import Token, TokenType, tokenize

_IGNORE = re.compile(r"--[ \t]*squawk-ignore(-file)?\b[ \t]*:?([\w ,-]*)")
_ALTER_TABLE = re.compile(r"ALTER TABLE (IF EXISTS )?(ONLY )?(?P<table>\S+)( \*)? ")


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """A statement *text* from *line* on; *words* are its tokens in upper case, without comments and strings."""

    line: int
    text: str
    words: str
    ignored: frozenset[str]

    @property
    def table(self) -> str:
        """The table that ``ALTER TABLE`` changes, or an empty string."""
        match = _ALTER_TABLE.match(self.words)
        return match["table"] if match else ""

    @property
    def actions(self) -> list[str]:
        """The actions of ``ALTER TABLE``, such as ``ADD COLUMN NAME TEXT``; for other statements none."""
        match = _ALTER_TABLE.match(self.words)
        return _split(self.words[match.end() :]) if match else []


def read_statements(text: str) -> list[SqlStatement]:
    """Return the statements of *text*; raise sqlglot's TokenError when a string or comment does not end."""
    comments = [
        (match.start(), match[1], frozenset(re.findall(r"[\w-]+", match[2]))) for match in _IGNORE.finditer(text)
    ]
    everywhere = frozenset[str]().union(*(rules for _, whole_file, rules in comments if whole_file))
    statements: list[SqlStatement] = []
    start = 0
    for tokens in _token_groups(tokenize(text, read="postgres")):
        end = tokens[-1].end
        ignored = everywhere.union(*(rules for at, whole, rules in comments if not whole and start <= at < end))
        words = _words(tokens, text)
        line, shown = text.count("\n", 0, tokens[0].start) + 1, " ".join(text[tokens[0].start : end + 1].split())
        statements.append(SqlStatement(line, shown, words.replace(" . ", "."), ignored))
        start = end
    return statements


def _token_groups(tokens: list[Token]) -> Iterator[list[Token]]:
    group: list[Token] = []
    for token in tokens:
        if token.token_type is not TokenType.SEMICOLON:
            group.append(token)
        elif group:
            yield group
            group = []
    if group:
        yield group


def _words(tokens: list[Token], text: str) -> str:
    if tokens[0].token_type is TokenType.COMMAND:  # sqlglot reads the rest of it as one string
        return " ".join(text[tokens[0].start : tokens[-1].end + 1].upper().split())
    return " ".join(_word(token) for token in tokens)


def _word(token: Token) -> str:
    if token.token_type is TokenType.STRING:
        return "''"
    return f'"{token.text}"'.replace(" ", "_") if token.token_type is TokenType.IDENTIFIER else token.text.upper()


def _split(words: str) -> list[str]:
    """Return the parts of *words* between commas outside of parentheses."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words.split():
        depth += (word == "(") - (word == ")")
        if word == "," and not depth:
            parts.append([])
        else:
            parts[-1].append(word)
    return [" ".join(part) for part in parts]
