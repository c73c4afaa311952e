"""Requests of every kind, and their outcome: responses, log lines and metrics."""

from __future__ import annotations

import http.client
import re
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.processes import HOST, wait_for

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OF_SERVERS = {"connection", "date", "server", "transfer-encoding", "keep-alive"}
"""Response headers that servers add."""
OF_TIME = re.compile(r"(?<=[rt]=)\d\d+|(?<=^)\d{3,}$")
"""Numbers in headers of limits that change while time passes."""
OF_RUNS = {"timestamp", "duration_ms", "trace_id", "pid", "logger", "exception"}
"""Fields of log lines that differ from run to run."""
COUNTED = re.compile(r"(http|scalekit_(ratelimit|jwt|cache|replica))_\w+(_total|_count|_in_flight|_websockets|_open)")

Response = tuple[str, int, list[tuple[str, str]], bytes]


@dataclass
class Outcome:
    """The outcome of the requests."""

    responses: list[Response] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


class Client:
    """Sends requests one after the other with increasing ids, and records the responses."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.outcome = Outcome()
        self.count = 0

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        """Send one request on a new connection, and return the body of the response."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {**self._ids(), **fields}, encode_chunked=not isinstance(body, bytes))
        response = connection.getresponse()
        received = response.read()
        connection.close()
        found = sorted((name.lower(), OF_TIME.sub("n", value)) for name, value in response.getheaders())
        own_headers = [each for each in found if each[0] not in OF_SERVERS]
        self.outcome.responses.append((f"{method} {path}", response.status, own_headers, received))
        return received

    def open(self, path: str) -> None:
        """Open a websocket and exchange one message."""
        try:
            with connect(f"ws://{HOST}:{self.port}{path}", additional_headers=self._ids(), open_timeout=60) as opened:
                opened.send("hello")
                self.outcome.responses.append((path, 101, [], str(opened.recv(timeout=60)).encode()))
        except InvalidStatus as refused:
            self.outcome.responses.append((path, refused.response.status_code, [], bytes(refused.response.body or b"")))

    def leave(self, path: str) -> None:
        """Send a request, and disconnect when the application reads its body."""
        fields = {"host": HOST, "content-length": "5", "expect": "100-continue", **self._ids()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with socket.create_connection((HOST, self.port), timeout=60) as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def scraped(self) -> dict[str, float]:
        """Return the numbers of the metrics page."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        connection.request("GET", "/metrics", headers={"x-request-id": "scraping"})
        text = connection.getresponse().read().decode()
        connection.close()
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return {f"{each.name}{sorted(each.labels.items()) or ''}": each.value for each in samples}

    def _ids(self) -> dict[str, str]:
        self.count += 1
        return {"x-request-id": f"request-{self.count}", "traceparent": TRACE}


def ask_everything(client: Client) -> None:
    """Send a request of every kind."""
    for method, headers in (("GET", {}), ("GET", {}), ("HEAD", {}), ("GET", {"if_none_match": '"one"'})):
        client.ask(method, "/cached", **headers)
    client.ask("GET", "/cached", if_none_match='"another"')
    client.ask("GET", "/cached", cache_control="no-cache")
    client.ask("OPTIONS", "/cached")
    client.ask("DELETE", "/cached")
    client.ask("GET", "/cached")
    token = client.ask("GET", "/token").decode()
    client.outcome.responses.pop()  # the token differs between services
    for path in ("/private/page", "/private/admin"):
        client.ask("GET", path)
        client.ask("GET", path, authorization=f"Bearer {token}")
        client.ask("GET", path, authorization=f"Bearer {token}x")
    client.ask("POST", "/private/page", b"x" * 100)
    for method in ("GET", "GET", "GET", "HEAD", "POST"):
        client.ask(method, "/limited")
    for path in ("/nothing", "/fails", "/unavailable", "/stream", "/"):
        client.ask("GET", path)
    client.ask("HEAD", "/nothing")
    client.ask("GET", "/", host="other.example")
    client.ask("POST", "/upload", b"x" * 100)
    client.ask("POST", "/upload", iter([b"x" * 100] * 3))
    client.ask("POST", "/upload", b"x" * 2000)
    client.ask("POST", "/upload", iter([b"x" * 1100]))  # in one piece, so that all of it is received
    client.open("/socket")
    client.open("/private/socket")
    client.leave("/waits")


def outcome_of(port: int, log: Path) -> Outcome:
    """Return the outcome of all requests to the service on *port*, which logs to *log*."""
    client = Client(port)
    ask_everything(client)
    wait_for("the last line", lambda: f'"request-{client.count}"'.encode() in log.read_bytes())
    found = client.outcome
    for line in map(orjson.loads, log.read_bytes().splitlines()):
        if line.get("event") in ("request", "websocket") and line["request_id"] != "scraping":
            failure = str(line.get("exception", "")).strip().rpartition("\n")[2]
            found.lines.append({"failure": failure, **{k: v for k, v in line.items() if k not in OF_RUNS}})
    found.lines.sort(key=lambda line: int(line["request_id"].rpartition("-")[2]))
    numbers = client.scraped().items()
    found.metrics = {name: value for name, value in numbers if COUNTED.match(name) and "/metrics" not in name}
    return found
