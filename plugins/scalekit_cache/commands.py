"""``scalekit cache purge``."""

from __future__ import annotations

import click


def commands(scheme: str) -> list[click.Command]:
    """Return the commands of the plugin, for a store of the *scheme*."""

    @click.command()
    @click.option("--tag", multiple=True, help="Purge what has this tag; may be repeated.")
    @click.option("--path", multiple=True, help="Purge the answers of this path, or of all below it as /shop/*.")
    def purge(tag: tuple[str, ...], path: tuple[str, ...]) -> None:
        """Forget what is kept, in every process that shares the store."""
        raise click.ClickException(
            f"the store is {scheme}: each process has its own, which no command reaches. "
            "Call CACHE(request).purge(...) in the application, or restart it"
        )

    return [purge]
