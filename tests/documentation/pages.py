"""The pages of the documentation site: which document is which page, and how links between them change.

Documents keep links that work on GitHub. A page of the site has another path, so its links are rewritten, and a link to
a file that is no page leads to the repository, or is plain text while the address of the repository is unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.documentation.diagrams import as_images
from tests.documents import ROOT, documents

PAGES_BY_DOCUMENT = {
    "README.md": "overview",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "vulnerabilities",
    "docs/README.md": "index",
    "k6/README.md": "load-scenarios",
    "plugins/README.md": "handbook",
    "tests/bench/README.md": "benchmarks",
}
"""Pages whose names do not follow from the paths of their documents."""
LINK = re.compile(r"(?P<text>!?\[[^\[\]]*\])\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")
CODE = re.compile(r"^ *(?P<fence>`{3,}|~{3,}).*?^ *(?P=fence)|`[^`]+`", re.MULTILINE | re.DOTALL)
IMAGES = (".webp", ".png", ".svg")


@dataclass(frozen=True, slots=True)
class Site:
    """The texts of all pages by name, and the images that they show by their paths in the site."""

    pages: dict[str, str] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)


def page_of(document: Path) -> str | None:
    """Return the name of the page of *document*, a path in the repository, or None when it is no page."""
    path = document.relative_to(ROOT).as_posix()
    if path in PAGES_BY_DOCUMENT:
        return PAGES_BY_DOCUMENT[path]
    if plugin := re.fullmatch(r"plugins/scalekit_(\w+)/README\.md", path):
        return f"plugins/{plugin[1].replace('_', '-')}"
    if not path.startswith("docs/") or document.suffix != ".md":
        return None
    return re.sub(r"README$", "index", path.removeprefix("docs/").removesuffix(".md"))


def read_site(repository: str = "") -> Site:
    """Return the site of all documents; *repository* is the URL below which the files of the repository are."""
    site = Site()
    for document in documents():
        if page := page_of(document):
            site.pages[page] = _with_links(document, page, site.images, repository)
    site.pages["plugins/index"] = _plugin_list(site.pages["overview"])
    return site


def _plugin_list(overview: str) -> str:
    """Return the page of all plugins: the section of the overview, whose links lead from one folder above."""
    section = overview.partition("\n## Plugins\n")[2].partition("\n## ")[0]
    return "# Plugins\n" + re.sub(r"\]\((?=\w+(?:/\w+)*)(?!https?:)", "](../", section)


def _with_links(document: Path, page: str, images: dict[str, Path], repository: str) -> str:
    """Return the text of *document* with the links of *page*; code stays as it is."""

    def rewrite(text: str, target: str, anchor: str) -> str:
        file = (document.parent / target).resolve()
        if file.suffix in IMAGES and text.startswith("!"):
            images[f"images/{file.name}"] = file
            return f"{text}({_relative(page, f'images/{file.name}')})"
        if other := _page_at(file):
            return f"{text}({_relative(page, other)}.md{anchor})"
        return _to_repository(text, file.relative_to(ROOT).as_posix(), repository)

    text, end, parts = as_images(document, document.read_text()), 0, []
    for link in links(text):
        if is_local(link["target"]):
            parts += [text[end : link.start()], rewrite(_original(text, link), link["target"], link["anchor"] or "")]
            end = link.end()
    return "".join([*parts, text[end:]])


def links(text: str) -> Iterator[re.Match[str]]:
    """Yield the links of *text* outside of code; in the matched text of a link, code is blank."""
    return LINK.finditer(CODE.sub(lambda code: re.sub(r"[^\n]", "_", code[0]), text))


def is_local(target: str) -> bool:
    """Return whether *target* is the path of a file, and not a URL or a section of the same page."""
    return bool(target) and "://" not in target and not target.startswith("mailto:")


def _original(text: str, link: re.Match[str]) -> str:
    return text[link.start("text") : link.end("text")]


def _page_at(file: Path) -> str | None:
    """Return the page of *file*, which may be a folder: GitHub shows its README or its files."""
    if not file.is_dir():
        return page_of(file)
    candidates = (file / name for name in ("README.md", "index.md"))
    if file == ROOT / "plugins":
        return "plugins/index"
    return next((page for each in candidates if each.exists() and (page := page_of(each))), None)


def _to_repository(text: str, path: str, repository: str) -> str:
    if repository:
        return f"{text}({repository}/{path})"
    plain = text[1:-1]
    if path.endswith(plain.strip("`/")):
        return f"`{plain.strip('`')}`"
    return f"{plain} (`{path}`)"


def _relative(page: str, other: str) -> str:
    return Path(os.path.relpath(other, Path(page).parent)).as_posix()


def stage(site: Site, folder: Path) -> None:
    """Write *site* into *folder* as the source of Sphinx; unchanged files keep their times, others are removed."""
    files: Mapping[str, bytes] = {
        **{f"{name}.md": text.encode() for name, text in site.pages.items()},
        **{name: file.read_bytes() for name, file in site.images.items()},
    }
    for name, content in files.items():
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in files:
            file.unlink()
