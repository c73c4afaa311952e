"""Send requests to an OTLP collector over HTTP, from a thread."""

from __future__ import annotations

import gzip
import socket
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Timer
from time import monotonic

from scalekit import UrlParts
from scalekit_tracing.otlp.endpoint import CollectorEndpoint
from scalekit_tracing.otlp.failure import describe_error, describe_response

MAX_RESPONSE = 65_536
"""Bytes of a response that are read."""
RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses after which a request is sent again (OTLP 1.x, section Failures)."""
MAX_RETRY_AFTER = 60.0
"""Seconds of a Retry-After that are obeyed."""


class CollectorUnavailable(Exception):
    """The collector did not take a request, which is to be sent again, after *retry_after* seconds when not 0."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CollectorRejection(Exception):
    """The collector refused a request, which is not sent again."""


class CollectorClient:
    """Sends requests to *endpoint* on one connection; not thread-safe."""

    def __init__(self, endpoint: CollectorEndpoint, content_type: str) -> None:
        self._endpoint = endpoint
        self._headers = {**endpoint.headers, "content-type": content_type, "user-agent": "scalekit"}
        if endpoint.compression == "gzip":
            self._headers["content-encoding"] = "gzip"
        self._connection: HTTPConnection | None = None

    def send(self, body: bytes) -> bytes:
        """Send *body* and return the body of the response.

        Raises CollectorUnavailable when the request may be repeated, and CollectorRejection when not.
        """
        if self._endpoint.compression == "gzip":
            body = gzip.compress(body, 1)
        try:
            if self._connection is not None and self._connection.sock is not None:
                try:
                    return self._exchange(body)
                except ConnectionError:  # the collector closes connections that are idle
                    self.close()
            return self._exchange(body)
        except (OSError, HTTPException) as error:
            self.close()
            raise CollectorUnavailable(describe_error(error, self._endpoint)) from error

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> bytes:
        if self._connection is None:
            self._connection = _connection(self._endpoint.parts, self._endpoint.timeout)
        connection = self._connection
        if connection.sock is None:
            connection.connect()
        until = monotonic() + self._endpoint.timeout
        deadline = Timer(self._endpoint.timeout, _shut, (connection.sock,))  # the timeout of a socket is for each byte
        deadline.daemon = True
        deadline.start()
        failure: Exception | None = None
        try:
            content = self._response(connection, body)
        except (OSError, HTTPException) as error:
            failure, content = error, b""
        finally:
            deadline.cancel()
        if monotonic() >= until:  # what was cut off looks like a lost connection, or a short response
            raise TimeoutError from failure
        if failure is not None:
            raise failure
        return content

    def _response(self, connection: HTTPConnection, body: bytes) -> bytes:
        connection.request("POST", self._endpoint.path, body, self._headers)
        response = connection.getresponse()
        content = response.read(MAX_RESPONSE)
        if not response.isclosed():  # longer than that
            self.close()
        if 200 <= response.status < 300:
            self._check_content_type(response.getheader("content-type", ""))
            return content
        location = response.getheader("location", "")
        message = describe_response(response.status, location, content, self._endpoint)
        if response.status in RETRYABLE:
            raise CollectorUnavailable(message, retry_after(response.getheader("retry-after", "")))
        raise CollectorRejection(message)

    def _check_content_type(self, content_type: str) -> None:
        """Raise CollectorRejection for a page: many servers respond to any request with one."""
        if content_type.startswith("text/html"):
            url, source = self._endpoint.url, self._endpoint.source
            raise CollectorRejection(f"{url}: the response is a page, not that of a collector; correct {source}")


def _shut(connected: socket.socket) -> None:
    """End the wait of another thread for *connected*."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:  # closed meanwhile
        pass


def _connection(parts: UrlParts, timeout: float) -> HTTPConnection:
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.host, parts.port, timeout=timeout)


def retry_after(text: str) -> float:
    """Return the seconds of ``Retry-After``, 0 when *text* is not their number."""
    return min(float(text), MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0
