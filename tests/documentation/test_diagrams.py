"""Diagrams of documents have images of their own source, for light and dark pages, with a text."""

from __future__ import annotations

import pytest

from tests.documentation.diagrams import FOLDER, THEMES, as_images, comment, diagrams, title_of
from tests.documents import ROOT, documents

DIAGRAMS = {name: source for document in documents() for name, source in diagrams(document)}


def test_every_diagram_has_the_images_of_its_source() -> None:
    images = {file.name: file.read_text().partition("\n")[0] for file in FOLDER.iterdir()}
    expected = {f"{name}-{theme}.svg": comment(source) for name, source in DIAGRAMS.items() for theme in THEMES}
    assert images == expected, "run python -m tests.documentation.diagrams"


def test_the_site_shows_images_with_the_title_of_the_diagram() -> None:
    page = ROOT / "docs" / "architecture.md"
    text = as_images(page, page.read_text())
    assert "```mermaid" not in text
    assert (
        "![The path of a request through connection, host, filters and application](images/diagrams/architecture-2-dark"
        in text
    )


def test_a_diagram_without_a_title_is_refused() -> None:
    with pytest.raises(ValueError, match="accTitle"):
        title_of("flowchart TB\n    a --> b\n")
