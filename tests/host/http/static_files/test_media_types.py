from __future__ import annotations

import pytest

from scalekit.http.static_files.media_types import media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app.css", "text/css; charset=utf-8"),
        ("APP.JS", "text/javascript; charset=utf-8"),
        ("index.html", "text/html; charset=utf-8"),
        ("logo.svg", "image/svg+xml"),
        ("font.woff2", "font/woff2"),
        ("code.wasm", "application/wasm"),
        ("data.json", "application/json"),
        ("photo.avif", "image/avif"),
        ("app.css.gz", "application/gzip"),
        ("dump.tar.xz", "application/x-xz"),
        ("app.css.br", "application/octet-stream"),
        ("LICENSE", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
    ],
)
def test_the_extension_decides(name: str, expected: str) -> None:
    assert media_type(name) == expected
