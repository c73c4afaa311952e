"""Find related tables by the name of their relation.

A foreign key is a relation of its table, named after its column without ``_id``: ``users.profile_id`` is ``profile``.
It is also a relation of the referenced table if it is unique, so that each row there has at most one related row: with
a unique ``profiles.user_id``, ``users`` has ``profiles``, or ``profile``. Foreign keys of several columns are named
after the related table in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Column, ForeignKeyConstraint, Table, UniqueConstraint
from sqlalchemy.exc import NoReferencedColumnError, NoReferencedTableError

from scalekit import suggest_name
from scalekit_pool.connections.driver import Value


class Relation(NamedTuple):
    """A related table, and the pairs of equal columns: of the table itself, of the related table."""

    table: Table
    pairs: tuple[tuple[Column[Value], Column[Value]], ...]


def relation(table: Table, name: str) -> Relation:
    """Return the relation *name* of *table*; raise ValueError if it is unknown, ambiguous, or has many rows."""
    outgoing = [each for names, each in _outgoing(table) if name in names]
    incoming = [(unique, each) for names, unique, each in _incoming(table) if name in names]
    found = outgoing or [each for unique, each in incoming if unique]
    if len(found) == 1:
        return found[0]
    if found:
        ways = " and ".join(sorted(f"{each.table.fullname} ({_columns(each)})" for each in found))
        message = f"relation {name!r} of table {table.fullname!r} is ambiguous, {ways}: write the join yourself"
    elif incoming:
        many = incoming[0][1]
        message = (
            f"table {table.fullname!r} has many {many.table.fullname!r} per row: select from "
            f"{many.table.fullname!r}, or make {_columns(many)} unique"
        )
    else:
        message = f"table {table.fullname!r} has no relation {name!r}: {suggest_name(name, relation_names(table))}"
    raise ValueError(message)


def relation_names(table: Table) -> list[str]:
    """Return one name of each relation of *table*."""
    outgoing = [names[0] for names, _ in _outgoing(table)]
    return outgoing + [names[-1] for names, unique, _ in _incoming(table) if unique]


def _outgoing(table: Table) -> Iterator[tuple[list[str], Relation]]:
    for constraint in table.foreign_key_constraints:
        pairs = _pairs(constraint)
        if pairs:
            related = pairs[0][1].table
            single = len(pairs) == 1
            names = [pairs[0][0].key.removesuffix("_id")] if single else _names_of(related)
            yield names, Relation(related, pairs)


def _incoming(table: Table) -> Iterator[tuple[list[str], bool, Relation]]:
    for other in table.metadata.tables.values():
        for constraint in other.foreign_key_constraints:
            pairs = tuple((remote, local) for local, remote in _pairs(constraint))
            if pairs and pairs[0][0].table is table:
                keys = {local.key for _, local in pairs}
                yield _names_of(other), any(unique <= keys for unique in _unique(other)), Relation(other, pairs)


def _pairs(constraint: ForeignKeyConstraint) -> tuple[tuple[Column[Value], Column[Value]], ...]:
    """Return the column pairs of a foreign key; none if the referenced table is not in the same MetaData."""
    try:
        return tuple((element.parent, element.column) for element in constraint.elements)
    except (NoReferencedTableError, NoReferencedColumnError):
        return ()


def _unique(table: Table) -> Iterator[set[str]]:
    """Yield each set of columns that is unique."""
    if table.primary_key.columns:
        yield set(table.primary_key.columns.keys())
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield set(constraint.columns.keys())
    for index in table.indexes:
        partial = any(option.endswith("_where") for option in index.dialect_kwargs)
        if index.unique and index.columns and not partial:
            yield set(index.columns.keys())


def _names_of(table: Table) -> list[str]:
    """Return the table's name and possible singular forms, the likeliest last."""
    name = table.name
    singular = [name.removesuffix("s")]
    if name.endswith("ies"):
        singular.append(name.removesuffix("ies") + "y")
    if name.endswith(("sses", "uses", "xes", "zes", "ches", "shes")):
        singular.append(name.removesuffix("es"))
    return [name, *singular]


def _columns(relation: Relation) -> str:
    return ", ".join(f"{remote.table.name}.{remote.key}" for _, remote in relation.pairs)
