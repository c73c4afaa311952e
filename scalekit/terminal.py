"""Print tables and errors to a terminal or a pipe, and escape texts of others for it."""

from __future__ import annotations

from collections.abc import Sequence
from traceback import format_exception

import click

from scalekit.config.database_values import mask_database_values
from scalekit.config.password_mask import mask_passwords


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print *rows* in columns under *headings*, in color only on a terminal."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    click.secho(_line(headings, widths), bold=True)
    for row in texts:
        click.echo(_line(row, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def format_duration(seconds: float) -> str:
    """Return *seconds*, at least one, in hours, minutes and seconds, such as ``59m 3s``."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)


def printable(text: str) -> str:
    """Return *text* with escapes in place of the ends of lines and other control characters."""
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    """Return the escape of *character* as in C."""
    number = ord(character)
    if number < 0x80:
        return character.encode("unicode_escape").decode()
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def print_error(message: str) -> None:
    """Print *message* to standard error with passwords in addresses masked."""
    click.echo(f"{click.style('error', fg='red')}: {_masked(message)}", err=True)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of *error* to standard error with passwords in addresses masked."""
    click.echo(_masked("".join(format_exception(error))), err=True, nl=False)


def _masked(text: str) -> str:
    return mask_database_values(mask_passwords(text))
