"""Each attempt of a call is a span, whose id the called service receives."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scalekit import TRACE_CONTEXT, parse_trace_context
from tests.discovery.harness import StockService, open_services
from tests.processes import HOST, free_ports
from tests.recorded_spans import recorded_spans

pytestmark = pytest.mark.anyio


async def test_attempts_of_a_call() -> None:
    (closed,) = free_ports(1)
    with StockService() as stock:
        urls = [f"http://{HOST}:{closed}", stock.url]
        async with open_services(services={"inventory": urls}) as services:
            token = TRACE_CONTEXT.set(parse_trace_context([]))
            body: dict[str, Any] = {}
            with recorded_spans() as spans:
                for _ in range(8):
                    async with services.client("inventory").get("/stock?key=secret") as response:
                        body = await response.json()
            TRACE_CONTEXT.reset(token)
    found = spans.all()
    assert {each.name for each in found} == {"GET inventory"}
    last = found[-1]
    assert body["headers"]["traceparent"].split("-")[2] == last.span_id
    assert last.attributes == {
        "http.request.method": "GET",
        "server.address": HOST,
        "server.port": stock.port,
        "url.full": f"{stock.url}/stock",
        "scalekit.service": "inventory",
        "scalekit.instance": last.attributes["scalekit.instance"],
        "http.response.status_code": 200,
        **({"http.request.resend_count": 1} if len(found) == 9 and found[-2].error else {}),
    }
    failed = [each for each in found if each.error]
    assert failed, "the first instance refuses connections"
    retried = found[found.index(failed[0]) + 1]
    assert retried.attributes["http.request.resend_count"] == 1
    assert retried.span_id != failed[0].span_id
    assert not failed[0].attributes.get("http.response.status_code")


@pytest.mark.parametrize("sent", [f"00-{'a' * 32}-{'b' * 16}-01", "nonsense" * 10, ""])
async def test_a_trace_context_of_the_application_is_sent_and_is_not_the_id_of_the_span(sent: str) -> None:
    with StockService() as stock:
        async with open_services(services={"inventory": [stock.url]}) as services:
            token = TRACE_CONTEXT.set(parse_trace_context([]))
            with recorded_spans() as spans:
                async with services.client("inventory").get("/stock", headers={"Traceparent": sent}) as response:
                    body = await response.json()
            TRACE_CONTEXT.reset(token)
    (found,) = spans.all()
    assert body["headers"]["traceparent"] == sent
    assert re.fullmatch("[0-9a-f]{16}", found.span_id)
    assert found.span_id != "b" * 16
