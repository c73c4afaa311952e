"""Documents become pages whose links lead to pages, or to the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.console import screenshots
from tests.documentation.contents import add_contents
from tests.documentation.pages import Site, links, page_of, read_site, stage
from tests.documents import ROOT

SOURCES = "https://git.example/shop/blob/1"


@pytest.mark.parametrize(
    ("document", "page"),
    [
        ("README.md", "overview"),
        ("docs/README.md", "index"),
        ("docs/redis.md", "redis"),
        ("docs/decisions/README.md", "decisions/index"),
        ("docs/tutorial/index.md", "tutorial/index"),
        ("plugins/scalekit_cluster_cache/README.md", "plugins/cluster-cache"),
        ("plugins/README.md", "handbook"),
        ("tests/example/scalekit_visits/README.md", None),
        (".github/pull_request_template.md", None),
        ("docs/conf.py", None),
    ],
)
def test_the_page_of_a_document(document: str, page: str | None) -> None:
    assert page_of(ROOT / document) == page


def test_links_between_documents_are_links_between_pages() -> None:
    pages = read_site().pages
    assert "](../configuration.md#paths)" in pages["plugins/cache"]
    assert "](cluster-cache.md)" not in pages["index"]
    assert "](plugins/cache.md)" in pages["overview"]
    assert "](handbook.md)" in pages["api"]
    assert "](../plugins/cache.md)" in pages["plugins/index"]


def test_links_to_files_lead_to_the_repository_when_its_address_is_known() -> None:
    assert f"[scalekit/host.py]({SOURCES}/scalekit/host.py)" in read_site(SOURCES).pages["architecture"]
    assert "[scalekit/host.py]" not in read_site().pages["architecture"]
    assert "`scalekit/host.py`" in read_site().pages["architecture"]


def test_links_in_code_are_no_links() -> None:
    text = "[a](b.md) `[c](d.md)`\n\n```python\n[e](f.md)\n```\n\n[`g`](h.md#i) ![j](k.png)\n"
    assert [(link["target"], link["anchor"]) for link in links(text)] == [
        ("b.md", None),
        ("h.md", "#i"),
        ("k.png", None),
    ]


def test_images_are_part_of_the_site() -> None:
    site = read_site()
    assert "images/console-overview.webp" in site.images
    assert "](images/console-overview.webp)" in site.pages["console"]


def test_every_screenshot_is_taken_by_the_program_and_shown() -> None:
    taken = {f"{name}.webp" for name, *_ in screenshots.PAGES}
    assert {file.name for file in screenshots.IMAGES.glob("*.webp")} == taken
    assert {Path(image).name for image in read_site().images if image.endswith(".webp")} == taken


def test_pages_of_a_folder_are_listed_in_the_order_of_its_links() -> None:
    pages = {
        "index": "# Site\n",
        "guides/index": "# Guides\n\n[second](b.md), [first](./c.md)\n",
        "guides/a": "# A\n",
        "guides/b": "# B\n",
        "guides/c": "# C\n",
        "tutorial/one": "# One\n",
        "new": "# New\n",
    }
    add_contents(pages)
    assert pages["guides/index"].endswith("\n\nb\nc\na\n```\n")
    assert pages["tutorial/index"].startswith("# Tutorial\n")
    assert "\ntutorial/index\nguides/index\n" in pages["index"]
    assert pages["index"].endswith("\nnew\n```\n")


def test_files_of_pages_that_are_gone_are_removed(tmp_path: Path) -> None:
    stage(Site({"a": "# A\n", "b/c": "# C\n"}), tmp_path)
    before = (tmp_path / "a.md").stat().st_mtime_ns
    stage(Site({"a": "# A\n"}), tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.md"]
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
