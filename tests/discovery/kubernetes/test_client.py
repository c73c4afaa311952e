"""Errors of the API as errors of the source."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit_discovery.kubernetes.client import MAX_RETRY_AFTER, ExpiredVersion, open_kubernetes
from scalekit_discovery.sources import SourceError
from tests.discovery.harness import config
from tests.discovery.kubernetes.api_server import ApiServer, status

pytestmark = pytest.mark.anyio
QUERY = {"labelSelector": "kubernetes.io/service-name=inventory"}


async def error_of(server: ApiServer, code: int, message: str, **headers: str) -> SourceError:
    """Return the error of a list to which the server responds with *code*."""
    server.failures.append(lambda: status(code, "Reason", message, **headers))
    table: Any = server.table()
    async with open_kubernetes(config(**table)) as client:
        with pytest.raises(SourceError) as caught:
            await client.get("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", QUERY)
    return caught.value


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("3600", MAX_RETRY_AFTER), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", 0.0)]
)
async def test_retry_after_is_obeyed_up_to_a_minute(server: ApiServer, header: str, seconds: float) -> None:
    error = await error_of(server, 429, "too many requests", **{"Retry-After": header})
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("code", "message", "is_expired"),
    [
        (410, "The provided continue parameter is too old", True),
        (504, "Too large resource version: 9, current: 1", True),
        (504, "etcdserver: request timed out", False),
        (500, "etcdserver: leader changed", False),
    ],
)
async def test_a_version_that_the_server_does_not_have_is_told_from_other_errors(
    server: ApiServer, code: int, message: str, *, is_expired: bool
) -> None:
    error = await error_of(server, code, message)
    assert isinstance(error, ExpiredVersion) is is_expired
    assert message in str(error)


async def test_a_redirect_is_an_error_and_takes_no_token_elsewhere(server: ApiServer) -> None:
    error = await error_of(server, 302, "elsewhere", Location="https://elsewhere.invalid/")
    assert "responded with status 302" in str(error)
