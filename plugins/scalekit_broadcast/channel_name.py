"""Names of channels."""

MAX_CHANNEL_LENGTH = 200
"""Characters of a channel's name."""


def check_channel(name: str) -> None:
    """Raise ValueError when *name* is no name of a channel."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_CHANNEL_LENGTH or not _is_text(name):
        shown = str(name)[:MAX_CHANNEL_LENGTH]
        raise ValueError(f"invalid channel {shown!r}: expected text of 1 to {MAX_CHANNEL_LENGTH} characters")


def _is_text(name: str) -> bool:
    """Return whether *name* can be encoded: surrogates cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
