"""Hooks of the nginx plugin."""

from __future__ import annotations

from collections.abc import Sequence

import click

from scalekit import Context, Table, hookimpl
from scalekit_nginx.commands import commands
from scalekit_nginx.config import NginxConfig


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.nginx]``."""
    return NginxConfig


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return ``scalekit nginx config``."""
    return commands(context)
