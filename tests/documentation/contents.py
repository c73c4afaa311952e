"""The table of contents of the documentation site."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from tests.documentation.pages import links

GROUPS: Mapping[str, Sequence[str]] = {
    "Start": ("overview", "tutorial/index", "guides/index"),
    "Use": ("configuration", "commands", "plugins/index", "reference/index", "api"),
    "Operate": (
        "deployment",
        "kubernetes",
        "proxies",
        "workers",
        "doctor",
        "console",
        "runbook",
        "redis",
        "load-scenarios",
    ),
    "Extend": ("handbook",),
    "Background": ("architecture", "decisions/index", "security", "benchmarks", "versions", "stability", "glossary"),
    "Project": ("contributing", "vulnerabilities", "changelog"),
}
"""Pages of the first level by the caption above them; pages in no group are added to the last."""
TITLES = {"tutorial": "Tutorial", "guides": "Guides"}
"""Titles of folders that have no page of their own."""
NAMES = {"overview": "Overview"}
"""Names in the table of contents of pages whose titles say less there."""


def add_contents(pages: dict[str, str]) -> None:
    """Add a table of contents to the first page and to the page of each folder; makes missing pages of folders."""
    for folder, title in TITLES.items():
        if any(name.startswith(f"{folder}/") for name in pages):
            pages.setdefault(f"{folder}/index", f"# {title}\n")
    for name in sorted(pages):
        if name.endswith("/index"):
            pages[name] += _toctree(_children(name, pages), "")
    for caption, names in _groups(pages).items():
        pages["index"] += _toctree(names, caption)


def _groups(pages: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the existing pages of each group; a folder stands for its pages."""
    groups = {caption: [name for name in names if name in pages] for caption, names in GROUPS.items()}
    known = {"index", *(name for names in groups.values() for name in names)}
    groups[list(groups)[-1]] += sorted(name for name in pages if name not in known and not _parent(name, pages))
    return groups


def _parent(name: str, pages: Mapping[str, str]) -> str:
    """Return the page of the folder that contains the page *name*, or an empty text at the top."""
    folder = posixpath.dirname(posixpath.dirname(name) if name.endswith("/index") else name)
    return f"{folder}/index" if f"{folder}/index" in pages else ""


def _children(index: str, pages: Mapping[str, str]) -> list[str]:
    """Return the pages below the page *index* of a folder: first those that it links to, in the order of its links."""
    folder = posixpath.dirname(index)
    below = [
        posixpath.relpath(name, folder) for name in sorted(pages) if name != index and _parent(name, pages) == index
    ]
    targets = (posixpath.relpath(posixpath.join(folder, link["target"]), folder) for link in links(pages[index]))
    linked = [target.removesuffix(".md") for target in dict.fromkeys(targets)]
    return sorted(below, key=lambda name: linked.index(name) if name in linked else len(linked))


def _toctree(names: Sequence[str], caption: str) -> str:
    options = f":hidden:\n:maxdepth: 1\n{f':caption: {caption}' if caption else ''}".rstrip()
    entries = [f"{NAMES[name]} <{name}>" if name in NAMES else name for name in names]
    return f"\n```{{toctree}}\n{options}\n\n" + "\n".join(entries) + "\n```\n" if entries else ""
