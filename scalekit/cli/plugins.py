"""``scalekit plugins``: list the installed plugins and how the file uses them."""

from __future__ import annotations

import click

from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.terminal import print_table


@click.command()
@file_argument
@config_options
def plugins(source: FileSource) -> None:
    """List the installed plugins; for those that FILE enables also hooks, layers and start order."""
    from scalekit.plugins import installed

    details = _enabled(source) if source.exists() or source.is_named else {}
    rows = []
    for name, candidates in installed().items():
        for each in candidates:
            hooks, layers, position = details.get(name, ("", "", ""))
            package = f"{each.distribution} {each.version}"
            rows.append([name, "yes" if name in details else "no", package, position, layers, hooks])
    if rows:
        print_table(["plugin", "enabled", "package", "starts", "layers", "hooks"], rows)
    else:
        click.echo("no plugins are installed; create one with `scalekit new plugin NAME`")


def _enabled(source: FileSource) -> dict[str, tuple[str, str, str]]:
    """Return hooks, layers and position in the start order of each enabled plugin."""
    from scalekit.app import prepare

    settings = source.settings()
    prepared = prepare(settings)
    filters = settings.plugins.filters(prepared.context)
    details = {}
    for name in settings.plugins.names:
        hooks = ", ".join(hook.removeprefix("scalekit_") for hook in settings.plugins.hooks(name))
        layers = ", ".join(item.layer.name for item in filters.get(name, ()))
        position = str(prepared.order.index(name) + 1) if name in prepared.order else ""
        details[name] = (hooks, layers, position)
    return details
