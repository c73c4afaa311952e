"""The kind of a test follows from the functions that it uses, also indirectly."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.kinds import starts_process
from tests.processes import HOST, Box, alive, free_ports, wait_for
from tests.service import Service


def direct() -> None:
    subprocess.run(["true"], check=True)


def through_another() -> None:
    direct()


def in_a_lambda() -> Callable[[], None]:
    return lambda: through_another()


def in_a_box() -> None:
    with Box("name"):
        pass


def in_a_service() -> None:
    with Service() as service:
        assert service.port


class Keeper:
    @property
    def service(self) -> Service:
        return Service()


def in_a_property() -> None:
    assert Keeper().service


def in_a_generator() -> None:
    assert list(generated())


def generated() -> Iterator[None]:
    direct()
    yield


def by_name_only() -> None:
    assert free_ports(1)
    assert HOST
    assert wait_for("nothing", lambda: True)
    assert alive(1)


@pytest.mark.parametrize(
    "function", [direct, through_another, in_a_lambda, in_a_box, in_a_service, in_a_property, in_a_generator]
)
def test_a_function_that_starts_a_process_is_found(function: Callable[[], object]) -> None:
    assert starts_process(function)


def test_a_function_that_only_names_a_helper_starts_no_process() -> None:
    assert not starts_process(by_name_only)
