"""An extension of Sphinx that corrects what axe reports about pages of the theme furo.

Captions of the sidebar are headings without a level, both sidebars are landmarks without names, wide tables and blocks
of code scroll but cannot be reached by keyboard, and the page of search results has no heading.
"""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from sphinx.application import Sphinx

CORRECTIONS = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    '<aside class="toc-drawer': '<aside aria-label="Sections of this page" class="toc-drawer',
    '\n<div id="search-results">': '\n<h1>Search</h1><div id="search-results">',
    "<pre>": '<pre tabindex="0">',
}
TABLE = '<div class="table-wrapper'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the corrections with Sphinx."""
    app.connect("build-finished", _correct_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _correct_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is None:
        for file in Path(app.outdir).rglob("*.html"):
            text = file.read_text()
            corrected = correct(text)
            if corrected != text:
                file.write_text(corrected)


def correct(page: str) -> str:
    """Return the HTML of *page* with all corrections; a corrected page does not change."""
    for wrong, right in CORRECTIONS.items():
        page = page.replace(wrong, right)
    numbers = count(1)
    return re.sub(
        TABLE, lambda _: f'<div tabindex="0" role="region" aria-label="Table {next(numbers)}"{TABLE[4:]}', page
    )
