"""Words of documents are in an English dictionary, or in docs/words.txt.

The dictionary is part of pyspellchecker. Code, links, names with capitals inside, and abbreviations in capitals are no
words. Typing errors that are words of their own, in code too, are found by codespell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from spellchecker import SpellChecker

from tests.documentation.checks.markdown import tokens_of
from tests.documentation.checks.problem import Problem
from tests.documents import ROOT

OWN_WORDS = ROOT / "docs" / "words.txt"
WORD = re.compile(r"(?<![\w./@:-])[A-Za-z]+(?:'[a-z]+)?(?![\w/@]|\.\w)")
URL = re.compile(r"\w+://\S+")


def unknown_words(document: Path) -> Iterator[Problem]:
    """Yield each word of *document* that is in no dictionary, once."""
    lines: dict[str, int] = {}
    for line, word in words_in(document.read_text()):
        lines.setdefault(word, line)
    for word in sorted(_dictionary().unknown(lines) - _own_words(), key=lambda each: (lines[each], each)):
        yield Problem(document, lines[word], f"unknown word {word!r}; correct it, or add it to docs/words.txt")


def words_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and word of each word of a Markdown *text*, in lower case, without the ending of a genitive."""
    for token in tokens_of(text):
        if token.type != "inline" or not token.map:
            continue
        for part in token.children or []:
            for found in WORD.findall(URL.sub("", part.content)) if part.type == "text" else ():
                word = found.removesuffix("'s")
                if not (len(word) > 1 and word.isupper()) and not re.search(r"[a-z][A-Z]", word):
                    yield token.map[0] + 1, word.lower()


@cache
def _dictionary() -> SpellChecker:
    return SpellChecker(language="en")


@cache
def _own_words() -> frozenset[str]:
    return frozenset(OWN_WORDS.read_text().split())
