"""The output of the commands: a table, or JSON with one object per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
import orjson

from scalekit import print_table

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with every field.")


def print_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], as_json: bool) -> None:
    """Print *rows* as JSON lines, or the *columns* of them as a table."""
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row).decode())
    else:
        print_table(columns, [[_cell(row.get(column)) for column in columns] for row in rows])


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.3f}s"
    return "-" if value in (None, "") else value
