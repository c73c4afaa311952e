"""The envelope of a message: name, id, body and headers, as every transport carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RESERVED_PREFIX = "scalekit-"
ATTEMPT = "scalekit-attempt"
REASON = "scalekit-reason"
STACK = "scalekit-stack"
FIRST_FAILED = "scalekit-first-failed"
LAST_FAILED = "scalekit-last-failed"
PRIORITY = "scalekit-priority"
MAX_PRIORITY = 9
UNIQUE = "scalekit-unique"
"""The digest of the unique key that the message has claimed, a dot, and the token of the claim."""
THEN = "scalekit-then"
"""The messages to publish after this one, as JSON."""
GROUP = "scalekit-group"
"""The id of the group to which the message belongs."""
FAILURE_HEADERS = (ATTEMPT, REASON, STACK, FIRST_FAILED, LAST_FAILED)
"""Headers that retries and dead letters add."""


def storable_text(text: str) -> str:
    """Return *text* without what no store accepts: NUL, and surrogates, which names of files and foreign input have."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@dataclass(slots=True)
class Envelope:
    """A message named *name*; *published* is in seconds since the epoch, *delay* in seconds until it is delivered."""

    name: str
    id: str
    body: bytes
    published: float
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = field(default=0.0, kw_only=True)
    dead: bool = field(default=False, kw_only=True)

    @property
    def attempt(self) -> int:
        """The number of this attempt, starting at 1."""
        text = self.headers.get(ATTEMPT, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1

    @property
    def priority(self) -> int:
        """The priority from 0 to MAX_PRIORITY; higher ones are delivered first."""
        text = self.headers.get(PRIORITY, "0")
        return int(text) if len(text) == 1 and text in "0123456789" else 0

    def as_retry(self, delay: float, headers: Mapping[str, str]) -> Envelope:
        """Return the envelope of the next attempt, due after *delay* seconds, with *headers* added."""
        merged = {**self.headers, **headers, ATTEMPT: str(self.attempt + 1)}
        return Envelope(self.name, self.id, self.body, self.published, merged, delay=delay)

    def as_dead_letter(self, headers: Mapping[str, str]) -> Envelope:
        """Return the envelope of the dead letter, with *headers* added."""
        merged = {**self.headers, ATTEMPT: str(self.attempt), **headers}
        return Envelope(self.name, self.id, self.body, self.published, merged, dead=True)

    def as_replay(self) -> Envelope:
        """Return the envelope without the headers of earlier failures, so that it starts at attempt 1."""
        headers = {name: value for name, value in self.headers.items() if name not in FAILURE_HEADERS}
        return Envelope(self.name, self.id, self.body, self.published, headers)
