"""``scalekit config show``: print all values in effect with their origins."""

from __future__ import annotations

import click

from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.config.effective_values import effective_values


@click.group()
@config_options
def config(source: FileSource) -> None:
    """Show the configuration."""


@config.command()
@file_argument
@config_options
def show(source: FileSource) -> None:
    """Print every key with its value and the origin of the value; secrets are masked."""
    for each in effective_values(source.settings()):
        click.echo(f"{each.key} = {each.value}  {click.style(f'# {each.origin}', dim=True)}")
