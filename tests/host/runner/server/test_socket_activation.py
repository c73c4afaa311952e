from __future__ import annotations

import os
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import StartError
from scalekit.config.field_types import MAX_SOCKET_NAME, check_listen_address
from scalekit.runner.server import socket_activation
from scalekit.runner.server.socket_activation import activated_sockets
from tests.processes import HOST

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def pass_sockets(monkeypatch: pytest.MonkeyPatch, count: str, names: str = "", pid: int | None = None) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() if pid is None else pid))
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", names)


def test_a_passed_socket_is_used_once_and_its_variables_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = socket.create_server((HOST, 0)).detach()
    pass_sockets(monkeypatch, "1")
    monkeypatch.setattr(socket_activation, "FIRST_DESCRIPTOR", passed)
    found = activated_sockets()
    assert list(found) == ["web"]
    assert not found["web"].get_inheritable()
    found["web"].close()
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
    assert activated_sockets() == {}


def test_sockets_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_sockets(monkeypatch, "1", pid=1)
    assert activated_sockets() == {}


def test_a_number_of_thousands_of_digits_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_sockets(monkeypatch, "9" * 5000)
    assert activated_sockets() == {}


def test_a_descriptor_that_does_not_listen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_sockets(monkeypatch, "1")
    monkeypatch.setattr(socket_activation, "FIRST_DESCRIPTOR", 1 << 20)
    with pytest.raises(StartError, match="is not a socket"):
        activated_sockets()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    monkeypatch.setattr(socket_activation, "FIRST_DESCRIPTOR", datagrams.detach())
    pass_sockets(monkeypatch, "1", "management")
    with pytest.raises(StartError, match="does not listen for connections; write ListenStream="):
        activated_sockets()


@given(WORDS, WORDS)
def test_any_variables_are_sockets_or_an_error(count: str, names: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket_activation, "FIRST_DESCRIPTOR", 1 << 20)
        pass_sockets(patch, count, names)
        with suppress(StartError):
            assert activated_sockets() == {}


@given(st.one_of(WORDS, st.text("/@a\u00e9.", max_size=MAX_SOCKET_NAME + 5)))
def test_a_valid_address_of_a_unix_socket_fits_in_the_kernels_structure(name: str) -> None:
    with suppress(ValueError):
        check_listen_address(f"unix:{name}")
        with socket.socket(socket.AF_UNIX) as probe:  # raises OSError when the name is too long
            assert probe.connect_ex(f"\0{name[1:]}" if name[0] == "@" else name) != 0
