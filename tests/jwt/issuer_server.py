"""A token issuer that serves its JWK set over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson

from tests.jwt.forged_tokens import TokenForge


class IssuerServer:
    """An issuer that serves its OIDC metadata and JWK set, and records the requests."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.requested_paths: list[str] = []
        self.status = 200
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requested_paths.append(self.path)
                document = issuer.documents.get(self.path)
                body = document if isinstance(document, bytes) else orjson.dumps(document)
                self.send_response(issuer.status if document is not None else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.documents["/.well-known/openid-configuration"] = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.forge = TokenForge("RS256", self.url, "shop")
        self.publish(self.forge)

    def publish(self, *forges: TokenForge) -> None:
        self.documents["/keys"] = {"keys": [forge.key.public() for forge in forges]}

    def table(self, **changes: Any) -> dict[str, Any]:
        other = {"issuer": self.url, "audience": "shop", "jwks_min_interval": "1s", **changes}
        return {"issuers": [other]}

    @contextmanager
    def serving(self) -> Iterator[Self]:
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()
