"""Commands in documents exist, with their options: those of ``scalekit``, ``make`` and ``python -m tests``."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache

import click

from tests.documentation.reference.commands import command_line
from tests.documents import ROOT

ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
SEPARATORS = frozenset({"|", "||", "&&", ";", "&", "(", ")"})
REDIRECTIONS = frozenset({">", ">>", "<", ">&"})


def mistake_in(line: str) -> str:
    """Return the mistake in the commands of a *line*, or an empty text."""
    return next(filter(None, map(_mistake_in_words, _commands(line))), "")


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of *line*, without assignments of variables, redirections and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "@%{}[]$,!^:+"
    try:
        words = list(lexer)
    except ValueError:  # text, not a command
        return
    command: list[str] = []
    skipped = False
    for word in [*words, ";"]:
        if word in SEPARATORS:
            yield command
            command, skipped = [], False
        elif word in REDIRECTIONS:
            skipped = True
        elif not skipped and (command or not ASSIGNMENT.fullmatch(word)):
            command.append(word)


def _mistake_in_words(words: Sequence[str]) -> str:
    match words:
        case ["scalekit" | ".venv/bin/scalekit", *arguments]:
            return _mistake_in_scalekit(command_line(), arguments)
        case ["make", *arguments]:
            targets = [word for word in arguments if not ASSIGNMENT.fullmatch(word) and not word.startswith("-")]
            missing = [target for target in targets if target not in _targets()]
            return f"the Makefile has no target {missing[0]!r}" if missing else ""
        case [python, "-m", module, *_] if "python" in python and module.partition(".")[0] == "tests":
            return "" if importlib.util.find_spec(module) else f"there is no module {module}"
    return ""


def _mistake_in_scalekit(group: click.Group, arguments: Sequence[str]) -> str:
    """Return what click says about the command, its options and their number of values."""
    command: click.Command = group
    context = _context(group, None, "scalekit")
    rest = list(arguments)
    while True:
        try:
            _, rest, _ = command.make_parser(context).parse_args(rest)
        except click.UsageError as error:
            return f"`{context.command_path}`: {error.format_message()}"
        if not isinstance(command, click.Group) or not rest:
            return ""
        name, *rest = rest
        found = command.get_command(context, name)
        if found is None:
            return "" if _may_be_an_argument(command, name) else f"`{context.command_path}` has no command {name!r}"
        command = found
        context = _context(command, context, name)


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    settings = {"help_option_names": ["-h", "--help"], **command.context_settings}
    return click.Context(command, parent, info_name=name, **settings)


def _may_be_an_argument(group: click.Group, word: str) -> bool:
    """Return whether *word* is no command: a file, a placeholder, or the argument of a group that runs by itself."""
    return group.invoke_without_command or word.endswith(".toml") or word.isupper() or word[0] in "<$"


@cache
def _targets() -> frozenset[str]:
    """Return the targets of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return frozenset(re.findall(r"^([\w-]+):", text, re.MULTILINE))
