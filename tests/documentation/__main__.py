"""Build the documentation site into build/docs/html: ``make docs``, ``make docs-serve``."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import watchfiles
from sphinx.cmd.build import build_main

from tests.documentation.contents import add_contents
from tests.documentation.pages import read_site, stage
from tests.documentation.reference.pages import reference_pages
from tests.documents import NOT_OURS, ROOT

FOLDER = ROOT / "build" / "docs"
HOST = "127.0.0.1"


def main() -> int:
    """Build, and serve when asked to; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.documentation", description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of source, pages and intermediate files")
    parser.add_argument("--serve", action="store_true", help="serve the site, and build it again after each change")
    parser.add_argument("--port", type=int, default=8001, help="port to serve at, on this machine only")
    options = parser.parse_args()
    return serve(options.output, options.port) if options.serve else build(options.output)


def build(folder: Path, *options: str) -> int:
    """Build the site in *folder* with further *options* of Sphinx, and return its exit status: 0 without a warning."""
    site = read_site(_repository())
    site.pages.update(reference_pages())
    add_contents(site.pages)
    stage(site, folder / "source")
    always = ["--keep-going", "--nitpicky", "--quiet", "--doctree-dir", str(folder / "doctrees")]
    paths = ["--conf-dir", str(ROOT / "docs"), str(folder / "source"), str(folder / "html")]
    return build_main([*(options or ["--fail-on-warning"]), *always, *paths])


def serve(folder: Path, port: int) -> int:
    """Serve the site at *port*, and build it again after each change, until Ctrl-C; warnings do not end it."""
    build(folder, "--color")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder / "html"))
    with ThreadingHTTPServer((HOST, port), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://{HOST}:{server.server_port}/", flush=True)
        for _ in watchfiles.watch(ROOT, watch_filter=_is_source, raise_interrupt=False):
            build(folder, "--color")
    return 0


def _is_source(change: watchfiles.Change, path: str) -> bool:
    """Return whether the file at *path* is a part of the site."""
    file = Path(path)
    ignored = NOT_OURS.intersection(file.parts) or file.is_relative_to(FOLDER)
    return not ignored and (file.suffix == ".md" or file.is_relative_to(ROOT / "docs"))


def _repository() -> str:
    """Return the URL of the files of this commit, as GitHub Actions names them, or an empty text elsewhere."""
    server, name, commit = (os.environ.get(f"GITHUB_{part}", "") for part in ("SERVER_URL", "REPOSITORY", "SHA"))
    return f"{server}/{name}/blob/{commit}" if server and name and commit else ""


if __name__ == "__main__":
    sys.exit(main())
