"""Encode the messages that applications publish: validate name, body, key and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from time import time
from typing import Any

from scalekit import encode_json, new_request_id
from scalekit.contracts import to_seconds, validate_message_name
from scalekit_queue.envelope import MAX_PRIORITY, PRIORITY, RESERVED_PREFIX, Envelope
from scalekit_queue.propagation import context_headers

KEY_PATTERN = re.compile(r"[!-~]{1,128}")
MAX_HEADERS_LENGTH = 16 * 1024


class MessageEncoder:
    """Encodes messages whose body has at most *max_body* bytes; raises ValueError for invalid ones."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body

    def envelope(
        self, name: str, body: Any, delay: str | float | None, key: str | None, headers: dict[str, str]
    ) -> Envelope:
        """Return the envelope of a new message, due after *delay*, with *key* or a new one as its id."""
        encoded = encode_body(body, self._max_body)
        if key is not None and not KEY_PATTERN.fullmatch(key):
            raise ValueError(f"expected a key of 1 to 128 printable ASCII characters without spaces, got {key!r}")
        delay_seconds = 0.0 if delay is None else to_seconds("delay", delay)
        return Envelope(
            validate_message_name(name), key or new_request_id(), encoded, time(), headers, delay=delay_seconds
        )


def encode_body(body: Any, max_body: int) -> bytes:
    """Return *body* as JSON; raises ValueError when it is none, or has more than *max_body* bytes."""
    encoded = encode_json(body)
    if len(encoded) > max_body:
        raise ValueError(
            f"the message has {len(encoded)} bytes, more than max_body {max_body} in [plugins.queue];"
            " store the content elsewhere and publish a reference to it"
        )
    return encoded


def message_headers(headers: Mapping[str, str] | None, priority: int) -> dict[str, str]:
    """Return the *headers* of a message with its priority, trace context and deadline; raises ValueError."""
    if priority not in range(MAX_PRIORITY + 1):
        raise ValueError(f"expected a priority from 0 to {MAX_PRIORITY}, got {priority!r}")
    found = {**_checked_headers(headers), **context_headers()}
    return {**found, PRIORITY: str(priority)} if priority else found


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    if not headers:
        return {}
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str) or not 0 < len(name) <= 100:
            raise ValueError(
                f"expected a header name of 1 to 100 characters and a string value, got {name!r}: {value!r}"
            )
        if not (_is_unicode(name) and _is_unicode(value)):
            raise ValueError(f"expected header names and values without surrogates, got {name!r}: {value!r}")
        if name.startswith(RESERVED_PREFIX):
            raise ValueError(f"header names with the prefix {RESERVED_PREFIX} are reserved for ScaleKit, got {name!r}")
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADERS_LENGTH:
        raise ValueError(f"the headers are longer than {MAX_HEADERS_LENGTH} characters in total")
    return dict(headers)


def positive_seconds(option: str, value: str | float) -> float:
    """Return the duration *value* in seconds; raises ValueError when it is none, or zero."""
    seconds = to_seconds(option, value)
    if not seconds:
        raise ValueError(f"{option} must be greater than zero")
    return seconds
