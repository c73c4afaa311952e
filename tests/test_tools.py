from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import HOST, Box, free_ports
from tests.servers import Nginx
from tests.tools import chromium_path, k6, read_wrk, slowhttptest, wrk

HELLO = f'server {{ listen {HOST}:@port@; location / {{ return 200 "hello"; }} }}'


@pytest.mark.needs("nginx", "wrk")
def test_wrk_counts() -> None:
    with Nginx(http=HELLO) as nginx:
        good = wrk(nginx.url, connections=2, seconds=1)
        bad = wrk(f"{nginx.url}/", "-H", "Host: a b", connections=2, seconds=1)
    assert good.requests > 100
    assert good.requests_per_second > 100
    assert good.not_2xx_or_3xx == good.connect_errors == good.timeouts == 0
    assert 0 < good.p50 <= good.p99
    assert bad.not_2xx_or_3xx == bad.requests


def test_wrk_report_is_read_with_its_errors() -> None:
    result = read_wrk("""
    Latency    78.87ms   17.03ms 157.05ms   71.50%
    Req/Sec    12.65k     1.05k   14.47k    87.99%
     50%  635.00us
     99%    1.20s
  12 requests in 1.00s, 1.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:     11.50""")
    assert (result.connect_errors, result.read_errors, result.write_errors, result.timeouts) == (1, 2, 3, 4)
    assert (result.requests, result.requests_per_second, result.not_2xx_or_3xx) == (12, 11.5, 5)
    assert result.p50 == pytest.approx(0.000635)
    assert result.p99 == 1.2


@pytest.mark.needs("nginx", "k6")
def test_k6_passes_and_fails_by_threshold(tmp_path: Path) -> None:
    script = tmp_path / "script.js"
    script.write_text("""
import http from "k6/http";
export const options = { iterations: 3, thresholds: { http_req_failed: ["rate==0"] } };
export default () => http.get(__ENV.URL);
""")
    with Nginx(http=HELLO) as nginx:
        good = k6(script, URL=nginx.url)
        (dead,) = free_ports(1)
        bad = k6(script, URL=f"http://{HOST}:{dead}")
    assert good.passed, good.report
    assert good.metrics["http_reqs"]["count"] == 3
    assert bad.status == 99, bad.report


@pytest.mark.needs("nginx", "slowhttptest")
def test_slowhttptest_reports() -> None:
    with Nginx(http=HELLO) as nginx:
        report = slowhttptest(nginx.url, "-H", "-c", 5, "-r", 5, seconds=1)
    assert "service available" in report


@pytest.mark.needs("chromium")
def test_chromium_is_there() -> None:
    with Box("chromium") as box:
        assert "Chromium" in box.run(chromium_path(), "--version").stdout
