"""``scalekit schema``: let editors complete and check the file."""

from __future__ import annotations

import click
import orjson


@click.command()
def schema() -> None:
    """Print the JSON Schema of the file for the plugins that are installed.

    Save it beside the file and name it in the file's first line, `#:schema ./scalekit.schema.json`, for taplo, tombi
    and the editors that use them.
    """
    from scalekit.config.schema import file_schema
    from scalekit.errors import PluginError
    from scalekit.plugins import Plugins, installed

    plugins = Plugins()
    for name, candidates in installed().items():
        try:
            plugins.load(candidates)
        except PluginError as error:
            click.echo(f"plugin {name} is left out: it {error}", err=True)
    models = {name: plugins.models().get(name) for name in plugins.names}
    click.echo(orjson.dumps(file_schema(models), option=orjson.OPT_INDENT_2).decode())
