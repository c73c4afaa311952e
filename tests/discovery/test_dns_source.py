"""DNS, asked for real: a small server on the loopback address that speaks it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from scalekit import ConfigError
from scalekit.errors import Unavailable
from tests.discovery.harness import Stock, found, services
from tests.processes import HOST, free_ports

pytestmark = pytest.mark.anyio

Zone = dict[tuple[str, str], Sequence[str]]


class NameServer:
    """Answers from its *zone*, by name and type of record, each type with its `lives`; with `broken` it refuses."""

    def __init__(self, zone: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self.zone: Zone = dict(zone)
        self.broken = False
        self.lives: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def address(self) -> str:
        return f"{HOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            self._socket.sendto(self._answer(dns.message.from_wire(data)).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records := self.zone.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(name, self.lives.get(kind, 1), "IN", kind, *records))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer({("one.example.", "A"): [HOST]}) as server:
        yield server


def srv(port: int, priority: int = 1, weight: int = 5) -> str:
    return f"{priority} {weight} {port} one.example."


async def test_srv_records_name_ports_and_weights_and_are_asked_for_again(server: NameServer) -> None:
    with Stock() as first, Stock() as second:
        server.zone["inventory.example.", "SRV"] = [srv(first.port, weight=9), srv(1, priority=2)]
        async with services(source="dns", domain="example", nameserver=server.address) as live:
            assert await found(live, 1) == [first.url]
            (instance,) = await live.instances("inventory")
            assert instance.weight == 9
            async with live.client("inventory").get("/stock") as answer:
                assert answer.status == 200
            server.zone["inventory.example.", "SRV"] = [srv(first.port), srv(second.port)]
            assert await found(live, 2) == sorted([first.url, second.url])


async def test_a_records_have_the_port_of_the_file(server: NameServer) -> None:
    with Stock() as stock:
        server.zone["inventory.example.", "A"] = [HOST]
        table = {"records": "a", "dns_port": stock.port, "domain": "example", "nameserver": server.address}
        async with services(source="dns", **table) as live:
            assert await found(live, 1) == [stock.url]


@pytest.mark.parametrize("records", ["a", "srv"])
async def test_addresses_are_asked_for_again_when_their_own_time_is_over(server: NameServer, records: str) -> None:
    server.lives = {"SRV": 3600}
    server.zone["inventory.example.", "A"] = [HOST]
    server.zone["inventory.example.", "SRV"] = ["1 1 80 inventory.example."]
    table = {"records": records, "domain": "example", "nameserver": server.address, "dns_interval": "1h"}
    async with services(source="dns", **table) as live:
        assert await found(live, 1) == [f"http://{HOST}:80"]
        server.zone["inventory.example.", "A"] = [HOST, "127.0.0.2"]
        assert await found(live, 2) == [f"http://{HOST}:80", "http://127.0.0.2:80"]


async def test_the_last_known_instances_stay_while_dns_fails_and_are_kept(server: NameServer, tmp_path: object) -> None:
    server.zone["inventory.example.", "SRV"] = [srv(81)]
    table = {"source": "dns", "domain": "example", "nameserver": server.address, "keep": f"{tmp_path}/kept"}
    async with services(**table) as live:
        assert await found(live, 1) == [f"http://{HOST}:81"]
    server.broken = True
    async with services(**table) as live:
        assert await found(live, 1) == [f"http://{HOST}:81"]


async def test_a_name_that_is_not_there_has_no_instance(server: NameServer) -> None:
    async with services(source="dns", domain="example", nameserver=server.address) as live:
        with pytest.raises(Unavailable, match="knows no healthy instance"):
            await live.client("unheard").get("/")


@pytest.mark.slow
async def test_a_server_that_is_not_there_is_told(server: NameServer) -> None:
    (port,) = free_ports(1)
    table = {"source": "dns", "domain": "example", "nameserver": f"{HOST}:{port}", "first_wait": "8s"}
    async with services(**table) as live:
        with pytest.raises(Unavailable, match="no instance is known: DNS at"):
            await live.client("inventory").get("/")


async def test_a_nameserver_without_an_address_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        async with services(source="dns", domain="example", nameserver="ns.example:53"):
            raise AssertionError("it started")
