"""Blocks of code in documents are valid: Python parses, TOML passes the models, commands and options exist."""

from __future__ import annotations

import ast
import errno
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalekit.errors import ConfigError
from scalekit.settings import TOP_LEVEL, load
from tests.documentation.checks.commands import mistake_in
from tests.documentation.checks.markdown import tokens_of
from tests.documentation.checks.problem import Problem

SHELLS = frozenset({"", "bash", "console", "sh", "shell"})
"""Languages of blocks with commands; indented blocks have none."""
COMMANDS = ("scalekit ", "make ")
INCOMPLETE = "requires an argument."
"""End of the message about an option that a sentence names without its value."""
PROMPT = "$ "
OF_THE_READER = (os.strerror(errno.ENOENT), ModuleNotFoundError.__name__)
"""Parts of the messages about files and modules that exist on the reader's machine only."""


class Block(NamedTuple):
    """A block of code; *line* is that of its first line of code."""

    language: str
    line: int
    text: str


def blocks_in(text: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown *text*."""
    for token in tokens_of(text):
        if token.type == "fence" and token.map:
            yield Block(token.info.partition(" ")[0], token.map[0] + 2, token.content)
        elif token.type == "code_block" and token.map:
            yield Block("", token.map[0] + 1, token.content)


def invalid_code(document: Path) -> Iterator[Problem]:
    """Yield each mistake in the blocks of *document*, and in the commands that its sentences name."""
    text = document.read_text()
    for block in blocks_in(text):
        for line, message in mistakes(block):
            yield Problem(document, block.line + line, message)
    for line, command in commands_in_sentences(text):
        message = mistake_in(command)
        if message and not message.endswith(INCOMPLETE):
            yield Problem(document, line, message)


def commands_in_sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each command in a paragraph or table of a Markdown *text*."""
    for token in tokens_of(text):
        for part in token.children or ():
            if part.type == "code_inline" and token.map and part.content.startswith(COMMANDS):
                yield token.map[0] + 1, part.content


def mistakes(block: Block) -> Iterator[tuple[int, str]]:
    """Yield line, counted from zero, and message of each mistake in *block*."""
    if block.language == "python":
        yield from _python_mistakes(block.text)
    elif block.language == "toml":
        yield from _toml_mistakes(block.text)
    elif block.language in SHELLS:
        for line, command in commands_in(block):
            if message := mistake_in(command):
                yield line, message


def _python_mistakes(text: str) -> Iterator[tuple[int, str]]:
    try:
        compile(text, "example", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        yield (error.lineno or 1) - 1, f"the example is no Python: {error.msg}"


def _toml_mistakes(text: str) -> Iterator[tuple[int, str]]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        yield 0, f"the example is no TOML: {error}"
        return
    data.pop("extends", None)
    if not data.keys() & {*TOP_LEVEL}:
        return
    try:
        problems: Sequence[Any] = load(data).document.problems
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        if not any(part in problem.message for part in OF_THE_READER):
            yield 0, f"{problem.key}: {problem.message}"


def commands_in(block: Block) -> Iterator[tuple[int, str]]:
    """Yield line and text of each command of *block*: continued lines are one, output after a prompt is left out."""
    lines = block.text.splitlines()
    prompted = any(line.startswith(PROMPT) for line in lines)
    start, command = 0, ""
    for number, line in enumerate(lines):
        if not command:
            start = number
            if prompted and not line.startswith(PROMPT):
                continue
        command += line.removeprefix(PROMPT)
        if command.endswith("\\"):
            command = command.removesuffix("\\")
            continue
        yield start, command
        command = ""
