"""``scalekit routes``: list all paths, and the plugin or application that serves each."""

from __future__ import annotations

import click

from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.terminal import print_table


@click.command()
@file_argument
@config_options
def routes(source: FileSource) -> None:
    """List the paths of host, plugins and application in matching order."""
    from starlette.routing import Router

    from scalekit.http.app_routes import list_routes
    from scalekit.http.router import ManagementRoute

    host = source.host()
    management = host.settings.server.management_address
    health = host.settings.health.path
    rows = [[path, "GET", "host", management or "public"] for path in (health, f"{health}/live", f"{health}/ready")]
    for plugin, items in host.routes.items():
        for route in items:
            apart = management if isinstance(route, ManagementRoute) else None
            rows += [[path, methods, plugin, apart or "public"] for path, methods in list_routes(Router([route]))]
    own = list_routes(host.target)
    rows += [[path, methods, "application", "public"] for path, methods in own]
    print_table(["path", "methods", "owner", "listener"], rows)
    if not own:
        click.echo("the application does not list its routes; all other paths go to it")
