"""Pages of every command with its arguments and options, from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import cache

import click

from scalekit.cli.main import COMMANDS, group
from scalekit.cli.source import ConfigGroup, missing_config_options
from tests.documentation.reference.every_plugin import host
from tests.documentation.reference.markdown import code, first_sentence, prose, table

FOLDER = "reference/commands"
HEAD = ("option", "meaning")
COMMON = frozenset({"--config", "--set", "--traceback", "--help"})
"""Options of every command, which only the list of commands describes."""


@cache
def command_line() -> click.Group:
    """Return the command ``scalekit`` with the commands of the host and of every plugin."""
    root = click.Group("scalekit", params=group.params, help=group.help, context_settings=group.context_settings)
    with click.Context(group, info_name="scalekit") as context:
        for name in COMMANDS:
            if command := group.get_command(context, name):
                _add_found_commands(context, command)
                root.add_command(command, name)
    for name, commands in host().settings.plugins.commands(host().context).items():
        of_plugin = ConfigGroup(name, help=f"Commands of plugin {name}.", params=missing_config_options(()))
        for command in commands:
            of_plugin.add_command(command)
        root.add_command(of_plugin, name)
    return root


def _add_found_commands(context: click.Context, command: click.Command) -> None:
    """Add to a group the commands that it finds when it is called, such as the kinds of ``scalekit deploy``."""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                command.add_command(found, name)


def pages() -> dict[str, str]:
    """Return the page of each command of the first level, and the list of them."""
    root, made, rows = command_line(), {}, []
    for name, command in sorted(root.commands.items()):
        found = list(_tree(_context(command, _context(root, None, "scalekit"), name)))
        made[f"{FOLDER}/{name}"] = f"# `scalekit {name}`\n\n" + "\n".join(map(_section, found))
        rows += [(f"[`{each.command_path}`]({name}.md)", first_sentence(_help(each.command))) for each in found]
    introduction = (
        "# All commands\n\nCommands of a plugin exist where the file enables it. [Commands](../../commands.md) "
        "explains the file's place on the command line, exit statuses and log levels.\n\n"
    )
    every = "\n## Options of every command\n\n" + table(HEAD, _options(_context(root, None, "scalekit"), frozenset()))
    return made | {f"{FOLDER}/index": introduction + table(("command", "what it does"), rows) + every}


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    return click.Context(command, parent, info_name=name, help_option_names=["-h", "--help"])


def _tree(context: click.Context) -> Iterator[click.Context]:
    """Yield the command of *context* and all commands below it; a group that only contains commands is left out."""
    command = context.command
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield context
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            if not inner.hidden:
                yield from _tree(_context(inner, context, name))


def _section(context: click.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## `{context.command_path}`\n", _paragraphs(_help(command)), f"```console\n$ {usage}\n```\n"]
    return "\n".join([*parts, table(HEAD, _options(context, COMMON))])


def _options(context: click.Context, omitted: Set[str]) -> list[tuple[str, str]]:
    """Return the options of the command of *context*, with their values and help, except those that are *omitted*."""
    options = [each for each in context.command.get_params(context) if isinstance(each, click.Option)]
    records = [each.get_help_record(context) for each in options if omitted.isdisjoint(each.opts)]
    return [(code(record[0]), prose(record[1])) for record in records if record]


def _help(command: click.Command) -> str:
    return (command.help or "").partition("\f")[0]


def _paragraphs(text: str) -> str:
    """Return a help text; a paragraph that click leaves as it is becomes a block of code."""
    return re.sub(r"\x08\n(.*?)(\n\n|\Z)", r"```text\n\1\n```\2", prose(text), flags=re.DOTALL) + "\n"
