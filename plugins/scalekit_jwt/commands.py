"""``scalekit jwt rotate``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from scalekit_jwt.config import JwtConfig
from scalekit_jwt.key_file import KeyFile


def commands(config: JwtConfig) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command()
    def rotate() -> None:
        """Sign with a new key from now on; the old ones verify until their tokens have expired."""
        if config.key_file is None:
            raise click.ClickException(
                "only the keys of key_file are rotated; put a new file first in keys, or another secret, and restart"
            )
        try:
            file = KeyFile(Path(config.key_file), config.algorithm)
            kid = file.rotate(config.refresh + 2 * config.leeway, time.time)
        except OSError as error:
            raise click.ClickException(f"{config.key_file}: {error.strerror}") from None
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"{kid} signs now; the keys before it verify for {config.refresh} more")

    return [rotate]
