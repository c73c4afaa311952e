"""``scalekit schema``: print the JSON Schema of the file, for editors."""

from __future__ import annotations

import click
import orjson


@click.command()
def schema() -> None:
    """Print the JSON Schema of the file with all installed plugins.

    Save it beside the file, and reference it in the first line of the file, `#:schema ./scalekit.schema.json`, for
    editors with taplo or tombi.
    """
    from scalekit.config.schema import file_schema
    from scalekit.errors import PluginError
    from scalekit.plugins import Plugins, installed

    plugins = Plugins()
    for name, candidates in installed().items():
        try:
            plugins.load(candidates)
        except PluginError as error:
            click.echo(f"plugin {name} is skipped: it {error}", err=True)
    models = {name: plugins.models().get(name) for name in plugins.names}
    click.echo(orjson.dumps(file_schema(models), option=orjson.OPT_INDENT_2).decode())
