from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from tests.logging.log_capture import Line, parse, read
from tests.processes import HOST, wait_for
from tests.service import Service

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LOGGING_APP = """\
import logging
import sys

import structlog

log = structlog.get_logger()


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    log.info("structlog", path=scope["path"], api_key="hunter2")
    logging.getLogger("library").warning("stdlib")
    if scope["path"] == "/fail":
        raise LookupError("no such thing")
    if scope["path"] == "/much":
        for number in range(2000):
            log.info("much", number=number, more="x" * 500)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""
TABLE = '[plugins.logging]\nservice = "shop"\n'
WITH_FILES = TABLE + 'directory = "logs"\n'
SERVER = """\
[server]
drain_delay = "0s"
operator_networks = ["127.0.0.1/32"]
[health]
check_interval = "100ms"
"""


def fetch(service: Service, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the request id of the response."""
    connection = HTTPConnection(HOST, service.port, timeout=60)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.read()
        return response.status, response.headers["x-request-id"] or ""
    finally:
        connection.close()


def json_lines(text: bytes) -> list[Line]:
    """Return the lines that are JSON; before start and after stop, the host logs plain text."""
    return parse(b"".join(line + b"\n" for line in text.split(b"\n") if line.startswith(b"{")))


def test_the_process_logs_json_to_standard_error_and_files() -> None:
    with Service(SERVER + WITH_FILES, {"service": LOGGING_APP}) as service:
        logs = service.box.directory / "logs"
        status, identifier = fetch(service, "/a?token=hunter2", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        assert status == 200
        assert fetch(service, "/fail", x_request_id="mine-7")[0] == 500
        wait_for("the lines", lambda: b"no such thing" in (logs / "error.log").read_bytes())
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        lines = read(logs / "combined.log")
        console = json_lines((service.box.directory / "server.log").read_bytes())
        errors = read(logs / "error.log")
    own = [line for line in lines if line.get("request_id") == identifier]
    assert [line["event"] for line in own] == ["structlog", "stdlib", "request"]
    assert {line["trace_id"] for line in own} == {TRACE}
    assert {line["service"] for line in lines} == {"shop"}
    assert own[0]["logger"] == "service"
    assert "hunter2" not in str(lines)
    failed = [line for line in lines if line.get("request_id") == "mine-7"]
    assert [line["event"] for line in failed] == ["structlog", "stdlib", "request"]
    assert "LookupError: no such thing" in failed[-1]["exception"]
    assert [line for line in lines if "exception" in line] == errors == [failed[-1]]
    assert console == lines
    assert any(line["event"].startswith("serving service:app") for line in lines)


def test_a_terminal_gets_rows_in_colour() -> None:
    with Service(SERVER + TABLE) as service:
        controller, terminal = pty.openpty()
        service.stop()
        process = subprocess.Popen(
            [str(each) for each in service.command()],
            cwd=service.box.directory,
            env=service.box.environment,
            stderr=terminal,
            stdout=subprocess.DEVNULL,
        )
        os.close(terminal)
        os.set_blocking(controller, False)
        shown = b""

        def row_is_shown() -> bool:
            nonlocal shown
            try:
                while chunk := os.read(controller, 65536):
                    shown += chunk
            except OSError:
                pass
            return b"/shown" in shown

        try:
            wait_for("a response", service.is_ready, process)
            fetch(service, "/shown")
            wait_for("the row", row_is_shown, process)
        finally:
            process.terminate()
            process.wait(120)
            os.close(controller)
    row = next(row for row in shown.split(b"\r\n") if b"/shown" in row)
    assert b"\x1b[32mINFO" in row
    assert b"{" not in row


def test_requests_are_served_while_the_reader_of_standard_error_is_stalled() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with Service(SERVER + WITH_FILES, {"service": LOGGING_APP}) as service:
        service.stop()
        process = subprocess.Popen(
            [str(each) for each in service.command()],
            cwd=service.box.directory,
            env=service.box.environment,
            stderr=writer,
            stdout=subprocess.DEVNULL,
        )
        os.close(writer)
        try:
            wait_for("a response", service.is_ready, process)
            for _ in range(8):
                assert fetch(service, "/much")[0] == 200
            assert fetch(service, "/last", x_request_id="the-last")[0] == 200
            logs = service.box.directory / "logs"
            wait_for("the file", lambda: b"the-last" in (logs / "combined.log").read_bytes())
            wait_for("health", lambda: "log lines are being lost" in service.get("/health"))
            os.close(reader)
            assert fetch(service, "/after")[0] == 200
        finally:
            process.terminate()
            assert process.wait(120) == 0
        read(logs / "combined.log")


@pytest.mark.parametrize("place", ["/dev/full", "closed"])
def test_requests_are_served_when_standard_error_is_full_or_closed(place: str) -> None:
    with Service(SERVER + WITH_FILES, {"service": LOGGING_APP}) as service:
        service.stop()
        error = {"stderr": open("/dev/full", "wb")} if place == "/dev/full" else {}  # noqa: SIM115
        command = [str(each) for each in service.command()]
        if place == "closed":
            command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        process = subprocess.Popen(
            command,
            cwd=service.box.directory,
            env=service.box.environment,
            stdout=subprocess.DEVNULL,
            **error,  # type: ignore[call-overload]  # empty, or the key stderr
        )
        try:
            wait_for("a response", service.is_ready, process)
            assert fetch(service, "/much")[0] == 200
            logs = service.box.directory / "logs"
            wait_for("the file", lambda: b"request" in (logs / "combined.log").read_bytes())
        finally:
            process.terminate()
            assert process.wait(120) == 0
            for each in error.values():
                each.close()
        assert any(line.get("path") == "/much" for line in read(logs / "combined.log"))


def test_under_uvicorn_each_request_and_exception_is_logged_once() -> None:
    with Service(SERVER + WITH_FILES, {"service": LOGGING_APP}) as service:
        service.stop()
        service.box.environment["SCALEKIT_CONFIG"] = "file.toml"
        service.box.write("file.toml", WITH_FILES + '[app]\ntarget = "service:app"\n')
        command = [sys.executable, "-m", "uvicorn", "scalekit.asgi:app", "--port", str(service.port)]
        process = service.box.spawn(*command, "--no-proxy-headers", log="uvicorn.log")
        wait_for("a response", service.is_ready, process)
        fetch(service, "/a", x_request_id="one")
        fetch(service, "/fail", x_request_id="two")
        service.box.stop(process)
        lines = read(service.box.directory / "logs" / "combined.log")
        printed = (service.box.directory / "uvicorn.log").read_bytes()
    events = [(line["event"], line.get("path"), line.get("request_id")) for line in lines if line["level"] != "debug"]
    assert [each for each in events if each[0] == "request"] == [("request", "/a", "one"), ("request", "/fail", "two")]
    assert not any("GET /a" in event for event, *_ in events)
    assert [line["request_id"] for line in lines if "exception" in line] == ["two"]
    assert b"Traceback (most recent call last):\\n" in printed
    assert printed.count(b"LookupError: no such thing") == 1
