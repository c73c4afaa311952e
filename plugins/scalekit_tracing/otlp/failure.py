"""Describe why a server did not take a request: which server, what happened, and the remedy."""

from __future__ import annotations

import ssl
from http.client import HTTPException, IncompleteRead
from socket import gaierror
from urllib.parse import urlsplit

from scalekit_tracing.otlp.endpoint import CollectorEndpoint

MAX_EXCERPT = 200
"""Characters of a response that are shown."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
REMEDIES = {
    400: "check that it accepts this version of the protocol, and requests of this size",
    401: "check the credentials",
    403: "check the credentials",
    404: "check the path",
    405: "check the path",
    413: "raise the limit of the server for the size of requests",
    415: "check the encoding",
}


def describe_error(error: Exception, endpoint: CollectorEndpoint) -> str:
    """Return what *error* means for the operator of *endpoint*."""
    what, remedy = _cause(error, endpoint)
    return f"{endpoint.url}: {what}" + (f"; {remedy}" if remedy else "")


def _cause(error: Exception, endpoint: CollectorEndpoint) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return f"no complete response within {endpoint.timeout:g} s", "raise tracing.timeout if it is slow"
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "the environment variable SSL_CERT_FILE names a file of further CA certificates"
        return f"its certificate is not trusted, {error.verify_message}", remedy
    if isinstance(error, ssl.SSLError):
        return f"TLS failed, {error.reason or excerpt(str(error))}", f"write http:// in {endpoint.source} without TLS"
    if isinstance(error, gaierror):
        return f"the host is unknown, {error.strerror}", f"correct {endpoint.source}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", f"start the server, or correct {endpoint.source}"
    if isinstance(error, ConnectionError | IncompleteRead):  # also a http.client.RemoteDisconnected
        return "the connection was closed before the response was complete", ""
    if isinstance(error, HTTPException):
        what = f"the response is not HTTP/1.1, {excerpt(str(error) or type(error).__name__)}"
        return what, f"name the port for HTTP in {endpoint.source}, not that for gRPC"
    return f"{type(error).__name__}, {excerpt(str(error))}", ""


def describe_response(status: int, location: str, content: bytes, endpoint: CollectorEndpoint) -> str:
    """Return what a response with *status* means that is no success."""
    text = f"{endpoint.url}: status {status}"
    if status in REDIRECTS:
        return f"{text}, a redirect{_destination(location)}, which is not followed; correct {endpoint.source}"
    shown = excerpt(content.decode("utf-8", "replace"))
    text += f", {shown}" if shown else ""
    return f"{text}; {REMEDIES[status]}" if status in REMEDIES else text


def excerpt(text: str) -> str:
    """Return the begin of *text* of a server, on one line and without what a terminal interprets."""
    text = "".join(each if each.isprintable() and each != "\ufffd" else " " for each in text[: 5 * MAX_EXCERPT])
    return " ".join(text.split())[:MAX_EXCERPT]


def _destination(location: str) -> str:
    """Return *location* without what may be secret: user, password and query."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    shown = excerpt(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path)
    return f" to {shown}" if shown else ""
