"""Under load, while workers are killed and replaced, everything that a client got is counted and logged."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from string import Template
from typing import Any

import orjson
import pytest

from tests.processes import Box, wait_for
from tests.servers import Prometheus, find
from tests.workers import Supervised, stop, supervised, wait_for_new_workers, workers_of

pytestmark = pytest.mark.needs("wrk", "prometheus")

REQUESTS = 100_000
TOML = """
[plugins.metrics]

[plugins.logging]
directory = "logs"
console = "off"
max_size = "5MiB"
backup_count = 50
"""
CLIENT = Template("""
local file = io.open("$ids", "w")
-- wrk asks for one request that it does not send, to see whether the script is right.
local sent = -1

-- Each request has a unique id. After the last one is sent, open requests are awaited.
function request()
  sent = sent + 1
  return wrk.format("GET", "/", {["X-Request-ID"] = "request-" .. sent})
end

function delay()
  if sent < $number then return 0 end
  return 1000000
end

function response(status, headers, body)
  file:write(status, " ", headers["x-request-id"] or headers["X-Request-ID"] or "none", "\\n")
  file:flush()
end
""")


class Client(Box):
    """wrk with 64 connections, which sends a number of requests and records the id of each response."""

    def __init__(self, number: int) -> None:
        super().__init__("wrk")
        self.ids = self.write("ids", "")
        self.script = self.write("client.lua", CLIENT.substitute(ids=self.ids, number=number))

    def load(self, url: str) -> None:
        """Start sending requests; afterwards wrk idles until the box is closed."""
        self.spawn(find("wrk"), "-t1", "-c64", "-d600s", "-s", self.script, url, death_signal=signal.SIGINT)

    def response_ids(self) -> list[str]:
        """Return the ids of the responses so far, all with status 200."""
        lines = [line.split() for line in self.ids.read_text().splitlines()]
        assert {status for status, _ in lines} <= {"200"}
        return [identity for _, identity in lines]

    def wait_for_responses(self, number: int) -> None:
        """Wait until *number* responses have arrived."""
        wait_for(f"{number} responses", lambda: len(self.ids.read_bytes().splitlines()) >= number, limit=180)


def logged_lines(service: Supervised) -> list[dict[str, Any]]:
    """Return every line of every log file, all of which must be JSON."""
    files = sorted((service.box.directory / "logs").glob("combined.log*"))
    return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


def access_lines(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "request" and line["path"] == "/"]


def counted(service: Supervised) -> int:
    """Return the number of requests to the application in the metrics."""
    page = service.get("/metrics").splitlines()
    name = "http_request_duration_seconds_count{"
    return sum(int(float(line.split()[-1])) for line in page if line.startswith(name) and "unmatched" in line)


def wait_for_quiet(client: Client, service: Supervised) -> None:
    """Wait until no other request is open and no more responses arrive."""
    seen = [0]

    def quiet() -> bool:
        alone = "http_requests_in_flight 1\n" in service.get("/metrics")
        seen.append(len(client.ids.read_bytes()))
        return alone and len(set(seen[-5:])) == 1

    wait_for("the last response", quiet)


def seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def test_counters_and_log_contain_every_response_without_a_crash() -> None:
    with supervised(4, TOML) as service, Client(20_000) as client:
        client.load(service.url)
        client.wait_for_responses(5_000)
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 4)
        client.wait_for_responses(20_000)
        response_ids = client.response_ids()
        assert counted(service) == len(response_ids) == len(set(response_ids))
        stop(service)
        assert sorted(line["request_id"] for line in access_lines(logged_lines(service))) == sorted(response_ids)


def test_two_kills_and_a_rolling_restart_under_a_hundred_thousand_requests() -> None:
    kills: list[float] = []
    with supervised(4, TOML) as service, Prometheus(service.port) as prometheus, Client(REQUESTS) as client:
        client.load(service.url)
        for share in (0.2, 0.4):
            client.wait_for_responses(int(REQUESTS * share))
            kills.append(kill_a_worker(service))
        client.wait_for_responses(int(REQUESTS * 0.6))
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 4)
        client.wait_for_responses(REQUESTS - 2 * 64)  # all except those open in the killed processes
        wait_for_quiet(client, service)
        response_ids, number = client.response_ids(), counted(service)
        wait_for("Prometheus to have seen it", lambda: _graphed(prometheus) == number)
        assert _resets(prometheus) == 0
        page = service.get("/metrics")
        stop(service)
        everything = logged_lines(service)
    assert 'scalekit_worker_exits_total{reason="crashed"} 2\n' in page
    assert 'scalekit_worker_exits_total{reason="retired"} 4\n' in page
    assert "scalekit_workers 4\n" in page
    assert len([line for line in everything if "it was killed by SIGKILL" in line["event"]]) == 2
    lines = access_lines(everything)
    logged = [line["request_id"] for line in lines]
    assert len(logged) == len(set(logged))
    lost = len([line for line in lines if any(kill - 1.5 < seconds(line) < kill + 0.5 for kill in kills)])
    assert 0 <= len(response_ids) - number <= lost
    assert len(set(response_ids) - set(logged)) <= lost
    # Responses of the killed workers that the client did not receive are logged too.
    assert len(set(logged) - set(response_ids)) <= 2 * 64


def kill_a_worker(service: Supervised) -> float:
    """Kill a worker, wait until it is replaced, and return the time of that."""
    killed = workers_of(service)[0]
    os.kill(killed, signal.SIGKILL)
    moment = datetime.now(UTC).timestamp()
    wait_for("a replacement", lambda: len(set(workers_of(service)) - {killed}) == 4)
    return moment


def _graphed(prometheus: Prometheus) -> int:
    series = prometheus.query('sum(http_request_duration_seconds_count{route="unmatched"})')
    return int(float(series[0]["value"][1])) if series else 0


def _resets(prometheus: Prometheus) -> int:
    (series,) = prometheus.query('sum(resets(http_request_duration_seconds_count{route="unmatched"}[5m]))')
    return int(float(series["value"][1]))
