"""The documentation site builds without a warning, contains every document, and needs no other host."""

from __future__ import annotations

import html
import json
import re
from collections import deque
from pathlib import Path

import pytest

from tests.documentation.pages import CODE, page_of, read_site
from tests.documents import documents

SHOWN = [page for document in documents() if (page := page_of(document))]
PAGES = read_site().pages
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\bhref="([^"]+)"|url\(([^)]+)\)"""
)


def test_every_document_is_reached_from_the_first_page_by_links(built_site: Path) -> None:
    reached, waiting = {"index.html"}, deque(["index.html"])
    while waiting:
        page = waiting.popleft()
        for target in re.findall(r'<a [^>]*href="([^"#:]+)', (built_site / page).read_text()):
            file = (built_site / page).parent.joinpath(html.unescape(target)).resolve()
            name = file.relative_to(built_site.resolve()).as_posix()
            if file.suffix == ".html" and name not in reached:
                reached.add(name)
                waiting.append(name)
    assert {f"{page}.html" for page in SHOWN} - reached == set()


def test_pages_load_nothing_from_other_hosts(built_site: Path) -> None:
    for file in [*built_site.rglob("*.html"), *built_site.rglob("*.css")]:
        found = ["".join(groups) for groups in LOADED.findall(file.read_text())]
        assert [url for url in found if re.match(r"['\"]?(\w+:)?//", url)] == [], file


def test_the_search_knows_words_of_plugins(built_site: Path) -> None:
    index = (built_site / "searchindex.js").read_text()
    content = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    pages = content["terms"]["savepoint"]
    names = [content["docnames"][number] for number in (pages if isinstance(pages, list) else [pages])]
    assert "plugins/idempotency" in names


@pytest.mark.parametrize("page", SHOWN)
def test_pages_have_one_title(page: str) -> None:
    text = CODE.sub("", PAGES[page])
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
