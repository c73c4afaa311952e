from __future__ import annotations

import signal

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.processes import HOST
from tests.service import Service


def test_a_websocket_that_is_refused_gets_the_whole_answer_and_is_no_error() -> None:
    with Service('[server]\nhosts = ["shop.example"]\ndrain = "0s"') as service:
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://{HOST}:{service.port}/"):
            pytest.fail("it was opened")
        answer = refused.value.response
        assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
        assert b"this host is not served here" in (answer.body or b"")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert "ERROR" not in service.log()
