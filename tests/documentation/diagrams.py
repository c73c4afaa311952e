"""The diagrams of documents, as images of the documentation site: ``python -m tests.documentation.diagrams``.

GitHub shows the blocks in Mermaid's language. The site has no scripts of others, so it shows images, which this program
writes with Mermaid in Chromium. It fetches Mermaid from npm the first time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.documents import ROOT, documents

MERMAID = "11.17.2"
FOLDER = ROOT / "docs" / "images" / "diagrams"
THEMES = {"light": "neutral", "dark": "dark"}
BLOCK = re.compile(r"^```mermaid\n(?P<source>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^\s*accTitle: (.+)$", re.MULTILINE)
"""Title for readers that cannot see the diagram, which becomes the text of the image."""
RENDER = """(async () => {{
    mermaid.initialize({{startOnLoad: false, theme: {theme}, htmlLabels: false, flowchart: {{htmlLabels: false}},
        deterministicIds: true, fontFamily: "system-ui, sans-serif"}});
    const {{svg}} = await mermaid.render("diagram", {source});
    const element = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
    return new XMLSerializer().serializeToString(element);
}})()"""


def diagrams(document: Path) -> Iterator[tuple[str, str]]:
    """Yield name and source of each diagram of *document*."""
    for number, block in enumerate(BLOCK.finditer(document.read_text()), 1):
        yield f"{document.stem}-{number}", block["source"]


def as_images(document: Path, text: str) -> str:
    """Return the *text* of *document* with images of its diagrams; links are those of the document."""
    names = iter([name for name, _ in diagrams(document)])

    def images(block: re.Match[str]) -> str:
        name = next(names)
        path, title = f"{Path(os.path.relpath(FOLDER, document.parent)).as_posix()}/{name}", title_of(block["source"])
        return "".join(f"![{title}]({path}-{theme}.svg){{.only-{theme}}}\n" for theme in THEMES)

    return BLOCK.sub(images, text)


def title_of(source: str) -> str:
    """Return the title of a diagram; raises ValueError when it has none."""
    if found := TITLE.search(source):
        return found[1]
    raise ValueError(f"a diagram has no line `accTitle: ...`, which is its text for screen readers: {source[:60]!r}")


def comment(source: str) -> str:
    """Return the comment in an image by which a test finds out that *source* has changed since."""
    return f"<!-- sha256 of the source: {hashlib.sha256(source.encode()).hexdigest()} -->"


def _library() -> str:
    """Return the text of Mermaid from npm."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"mermaid@{MERMAID}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
        (package,) = Path(folder).glob("*.tgz")
        with tarfile.open(package) as archive, archive.extractfile("package/dist/mermaid.min.js") as file:  # type: ignore[union-attr] # the file exists in this version
            return file.read().decode()


def main() -> None:
    """Write the images of all diagrams, and remove others."""
    from tests.console.chromium import Chromium

    FOLDER.mkdir(parents=True, exist_ok=True)
    library = _library()
    written = set()
    with Chromium() as browser:
        browser.evaluate(library + "; 0")
        for document in documents():
            for name, source in diagrams(document):
                for theme, colors in THEMES.items():
                    script = RENDER.format(theme=json.dumps(colors), source=json.dumps(source))
                    file = FOLDER / f"{name}-{theme}.svg"
                    file.write_text(f"{comment(source)}\n{browser.evaluate(script)}\n")
                    written.add(file)
    for file in set(FOLDER.iterdir()) - written:
        file.unlink()


if __name__ == "__main__":
    main()
