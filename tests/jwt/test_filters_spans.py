"""A request that waits for keys of an issuer, or for the check of a proof, has a span of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit_jwt.plugin import COMPONENTS
from tests.jwt.dpop_client import DpopClient
from tests.jwt.forged_tokens import TokenForge
from tests.jwt.harness import service
from tests.jwt.issuer_server import IssuerServer
from tests.tracing.span_receiver import SpanReceiver, span_receiver

pytestmark = pytest.mark.anyio


def tracing(receiver: SpanReceiver) -> dict[str, Any]:
    sampling = {"ratio": 1.0, "slow_quantile": 0.0, "max_traces_per_second": 1000.0}
    return {"tracing": {"endpoint": receiver.url, "export_interval": "10ms", "sampling": sampling}}


def waits(receiver: SpanReceiver, name: str) -> list[bool]:
    """Return, for each request *name*, whether it waited."""
    below = {span["parentSpanId"] for span in receiver.named("jwt wait")}
    return [span["spanId"] in below for span in receiver.named(name)]


async def test_the_wait_for_the_keys_of_an_issuer() -> None:
    with IssuerServer().serving() as issuer, span_receiver() as receiver:
        table = issuer.table(jwks_url=f"{issuer.url}/keys", jwks_min_interval="10ms")
        async with service(table, tracing(receiver)) as client:
            new = TokenForge("RS256", issuer.url, "shop")
            issuer.publish(new)
            (keys,) = client.app.context.get(COMPONENTS).jwks
            while keys._within_min_interval:
                await asyncio.sleep(0.01)
            client.token = new.token()
            assert [(await client.api()).status for _ in range(2)] == [200, 200]
    assert waits(receiver, "GET /api/user") == [True, False]


async def test_the_check_of_a_proof() -> None:
    with span_receiver() as receiver:
        async with service({"sender_constraint": "dpop"}, tracing(receiver)) as client:
            holder = DpopClient(client)
            await holder.login("ada")
            assert (await holder.api()).status == 200
            assert (await client.api()).status == 401
    assert waits(receiver, "GET /api/user") == [True]
