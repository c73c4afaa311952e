"""SIGHUP replaces the certificate of a running service, and no request fails."""

from __future__ import annotations

import signal
import socket
import ssl
from contextlib import closing
from functools import partial

import pytest

from tests.certificates import Authority
from tests.host.runner.server.test_protocol import connections
from tests.integration.test_drain_under_load import failures
from tests.processes import HOST, wait_for
from tests.service import APPLICATION
from tests.tls_service import TlsService
from tests.tools import wrk_load
from tests.workers import stop, wait_for_new_workers, workers_of


class MutualTlsService(TlsService):
    """A service whose clients present a certificate of its authority; a stranger's is of another one."""

    def prepare(self) -> None:
        super().prepare()
        self.client = self.authority.issue("client")
        (self.box.directory / "other").mkdir()
        other = Authority(self.box.directory / "other")
        self.stranger, self.stranger_authority = other.issue("stranger"), other.file

    def client_context(self) -> ssl.SSLContext:
        context = self.anonymous_context()
        context.load_cert_chain(self.client.certificate, self.client.key)
        return context

    def anonymous_context(self) -> ssl.SSLContext:
        return super().client_context()


WORKERS = ["", "workers = 1"]
PATIENT = 'drain_delay = "300ms"\ngraceful_timeout = "10m"'


def responds(service: TlsService, context: ssl.SSLContext) -> bool:
    """Return whether a client with *context* gets a response; TLS 1.3 rejects its certificate after the handshake."""
    try:
        with service.connect(context) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return bool(client.recv(65536))
    except OSError:
        return False


def renewed(service: TlsService, name: str) -> bool:
    return service.certificate_name() == name


@pytest.mark.parametrize("workers", WORKERS)
def test_new_connections_get_the_new_certificate_and_a_broken_one_is_refused(workers: str) -> None:
    with TlsService(f"{workers}\n{PATIENT}") as service:
        first, second = service.authority.issue("second"), service.authority.issue("third")
        assert service.certificate_name() == "shop"
        with closing(service.connection()) as kept:
            kept.request("GET", "/sleep/2")
            service.files.replace_with(first)
            service.signal(signal.SIGHUP)
            wait_for("the new certificate", lambda: renewed(service, "second"))
            assert kept.getresponse().read() == b"/sleep/2 0", "a request in flight is served to its end"
        wait_for("the end of the reload", lambda: not workers or "replaced every worker" in service.log())
        service.files.key.write_bytes(second.key.read_bytes())
        service.signal(signal.SIGHUP)
        service.wait_for_log("is not the private key of the certificate")
        service.wait_for_log("keeps serving" if workers else "the previous certificate stays in use")
        assert service.certificate_name() == "second"
        service.files.certificate.write_bytes(second.certificate.read_bytes())
        service.signal(signal.SIGHUP)
        wait_for("the next certificate", lambda: renewed(service, "third"))
        assert stop(service) == 0
        assert "Traceback" not in service.log()


@pytest.mark.needs("wrk")
@pytest.mark.parametrize(
    ("workers", "headers"), [("", ["-H", "connection: close"]), ("workers = 2", [])], ids=["close", "keep-alive"]
)
def test_no_request_fails_while_certificates_rotate(workers: str, headers: list[str]) -> None:
    with (
        TlsService(f"{workers}\n{PATIENT}", sources={"service": APPLICATION}) as service,
        wrk_load(service.url, *headers, connections=16) as finish,
    ):
        wait_for("load", lambda: connections(service.port) > 5)
        for name in ("one", "two"):
            old = workers_of(service)
            service.files.replace_with(service.authority.issue(name))
            service.signal(signal.SIGHUP)
            wait_for(f"certificate {name}", partial(renewed, service, name))
            if workers:
                wait_for_new_workers(service, old, 2)
        result = finish()
    assert result.requests > 100
    assert failures(result) == {}


def test_a_stopping_service_does_not_wait_for_idle_clients_that_send_no_close_notify() -> None:
    with TlsService(f'{PATIENT}\nwrite_timeout = "10m"') as service, closing(service.connection()) as idle:
        idle.request("GET", "/")
        assert idle.getresponse().read() == b"/ 0"
        service.signal(signal.SIGTERM)
        assert service.wait(60) == 0
        assert "stopped; all requests completed" in service.log()


def test_a_handshake_that_has_begun_is_completed_by_a_worker_that_is_replaced() -> None:
    with (
        TlsService('workers = 1\ndrain_delay = "20s"') as service,
        socket.create_connection((HOST, service.port), timeout=60) as plain,
    ):
        wait_for("an accepted connection", lambda: connections(service.port) > 0)
        service.signal(signal.SIGHUP)
        service.wait_for_log("draining")
        with service.client_context().wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_clients_may_have_to_present_a_certificate() -> None:
    mutual = 'client_certificates = "required"\nclient_ca_file = "ca.pem"'
    with MutualTlsService(tls=mutual) as service:
        assert service.get("/") == "/ 0"
        strange = service.anonymous_context()
        strange.load_cert_chain(service.stranger.certificate, service.stranger.key)
        assert not responds(service, strange)
        assert not responds(service, service.anonymous_context())
        known = service.client_context()
        (service.box.directory / "ca.pem").write_bytes(service.stranger_authority.read_bytes())
        service.signal(signal.SIGHUP)
        service.wait_for_log("new connections get the certificate")
        assert responds(service, strange), "the authorities are read again, too"
        assert not responds(service, known)
