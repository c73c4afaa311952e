"""The options of ``scalekit deploy systemd``, and their checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from scalekit.deploy.reverse_proxy import PLAIN_PATH
from scalekit.deploy.service import ServiceDescription

NOTIFY_RELOAD = 253
"""The first version of systemd with ``Type=notify-reload`` (systemd.service(5))."""
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}|[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """The values of the options of the command."""

    directory: str
    user: str
    version: int
    instances: int

    @classmethod
    def of(cls, service: ServiceDescription, options: Mapping[str, Any]) -> UnitOptions:
        """Return the values in *options*, with the defaults for *service*."""
        return cls(
            options.get("directory") or f"/srv/{service.name}",
            options.get("user") or "",
            int(options.get("systemd_version") or NOTIFY_RELOAD),
            int(options.get("instances") or 1),
        )


def _check_directory(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    if path and not (path.startswith("/") and PLAIN_PATH.fullmatch(path)):
        message = f'expected an absolute path of letters, digits and "_ . / @ + , = ~ -", got {path!r}'
        raise click.BadParameter(message)
    return path


def _check_user(context: click.Context, parameter: click.Parameter, user: str | None) -> str | None:
    if user and not USER.fullmatch(user):
        raise click.BadParameter(f'expected the name or number of a user, such as "shop", got {user!r}')
    return user


UNIT_OPTIONS = [
    click.Option(
        ["--directory"],
        callback=_check_directory,
        help="Folder of the project and its .venv; by default /srv/NAME.",
    ),
    click.Option(
        ["--user"],
        callback=_check_user,
        help="User of the service; by default one that exists only while it runs.",
    ),
    click.Option(
        ["--systemd-version"],
        type=int,
        default=NOTIFY_RELOAD,
        show_default=True,
        help="Oldest version of systemd that reads the units.",
    ),
    click.Option(
        ["--instances"],
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Units of the service; each has ports counted from those of the file.",
    ),
]
