"""``scalekit jwt rotate``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from scalekit_jwt.config import JwtConfig
from scalekit_jwt.keys.key_file import KeyFile


def commands(config: JwtConfig) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command()
    def rotate() -> None:
        """Add a new signing key to key_file; old keys verify until their tokens have expired."""
        if config.key_file is None:
            raise click.ClickException(
                "rotate needs key_file; put a new file first in keys, or set another secret, and restart"
            )
        try:
            file = KeyFile(Path(config.key_file), config.algorithm)
            kid = file.rotate(config.refresh_ttl + 2 * config.leeway, time.time)
        except OSError as error:
            raise click.ClickException(f"{config.key_file}: {error.strerror}") from None
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"new signing key {kid}; the keys before it verify for {config.refresh_ttl} more")

    return [rotate]
