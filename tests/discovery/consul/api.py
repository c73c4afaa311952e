"""Queries of Consul's HTTP API."""

from __future__ import annotations

import json
from typing import Any

from tests.processes import wait_for
from tests.servers import Consul, ask


def entries(consul: Consul, name: str) -> list[dict[str, Any]]:
    response: list[dict[str, Any]] = json.loads(ask(consul.port, "GET", f"/v1/health/service/{name}"))
    return response


def passing(consul: Consul, name: str) -> list[str]:
    response = json.loads(ask(consul.port, "GET", f"/v1/health/service/{name}?passing=1"))
    return sorted(entry["Service"]["ID"] for entry in response)


def checks(consul: Consul, name: str) -> dict[str, str]:
    return {check["CheckID"]: check["Status"] for entry in entries(consul, name) for check in entry["Checks"]}


def outputs(consul: Consul, identifier: str) -> str:
    """Return the last output of the agent's check, which the servers receive with a delay."""
    output: str = json.loads(ask(consul.port, "GET", "/v1/agent/checks"))[f"service:{identifier}"]["Output"]
    return output


def wait_until_registered(consul: Consul, name: str, count: int = 1) -> list[str]:
    def all_there() -> list[str]:
        ids = passing(consul, name)
        return ids if len(ids) == count else []

    return wait_for("the registration", all_there)
