"""Links between documents lead to files and sections that exist, as GitHub shows them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.documentation.checks.problem import Problem
from tests.documentation.pages import CODE, is_local, links

HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ANCHOR = re.compile(r"""<a\s[^>]*(?:id|name)="([^"]+)\"""")


def broken_links(document: Path) -> Iterator[Problem]:
    """Yield each link of *document* to a missing file or section."""
    text = document.read_text()
    for link in links(text):
        target, anchor = link["target"], (link["anchor"] or "").removeprefix("#")
        if target and not is_local(target):
            continue
        line = text.count("\n", 0, link.start()) + 1
        file = (document.parent / target).resolve() if target else document
        if not file.exists():
            yield Problem(document, line, f"the link leads to {target!r}, which does not exist")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield Problem(document, line, f"the link leads to #{anchor}, which is no section of {file.name}")


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the anchors of the sections of *document*, as GitHub makes them."""
    text = re.sub(r"^ *(`{3,}|~{3,}).*?^ *\1", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    seen: Counter[str] = Counter()
    found = set(ANCHOR.findall(CODE.sub("", text)))
    for heading in HEADING.findall(text):
        slug = slug_of(heading)
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def slug_of(heading: str) -> str:
    """Return the anchor of *heading*: lower case, blanks as hyphens, without other punctuation."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text.replace("`", "")).strip().replace(" ", "-")
