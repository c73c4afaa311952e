"""Validation of published messages."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit.contracts import QUEUE
from tests.queue.harness import serving

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("no spaces", 1), {}, "expected a name of letters"),
        (("data.created", object()), {}, "JSON cannot represent the value"),
        (("data.created", 1), {"key": "two words"}, "expected a key"),
        (("data.created", 1), {"delay": "31d"}, "not between 0 and 30 days"),
        (("data.created", 1), {"delay": -1}, "not between 0 and 30 days"),
        (("data.created", 1), {"headers": {"scalekit-attempt": "9"}}, "reserved for ScaleKit"),
        (("data.created", 1), {"headers": {"name": "\ud800"}}, "header names and values without surrogates"),
        (("data.created", 1), {"headers": {"long": "x" * 20_000}}, "longer than 16384 characters in total"),
    ],
)
async def test_an_invalid_message_is_rejected(
    sqlite_table: Table, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    async with serving(sqlite_table) as host:
        with pytest.raises(ValueError, match=message):
            await host.context.get(QUEUE).publish(*arguments, **options)
