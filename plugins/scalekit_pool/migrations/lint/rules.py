"""The rules for statements that lock or break, named as squawk's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from scalekit_pool.migrations.lint.statements import SqlStatement


@dataclass(frozen=True, slots=True)
class LintRule:
    """What a rule forbids, and what to do instead."""

    name: str
    reason: str
    remedy: str


_RULES = [
    LintRule(
        "require-lock-timeout",
        "while the statement waits for its lock, all later statements on the table wait for it",
        "write SET LOCAL lock_timeout = '2s' before it, and migrate again when it fails",
    ),
    LintRule(
        "require-concurrent-index-creation",
        "blocks writes to the table while the index is built",
        "use CREATE INDEX CONCURRENTLY in a file of its own that begins with -- no-transaction; "
        "with Alembic in autocommit_block() with postgresql_concurrently=True",
    ),
    LintRule(
        "require-concurrent-index-deletion",
        "blocks reads and writes until all statements on the table have ended",
        "use DROP INDEX CONCURRENTLY in a file of its own that begins with -- no-transaction; "
        "with Alembic in autocommit_block()",
    ),
    LintRule(
        "require-concurrent-reindex",
        "blocks writes to the table while the index is built",
        "use REINDEX CONCURRENTLY in a file of its own that begins with -- no-transaction",
    ),
    LintRule(
        "ban-concurrent-index-creation-in-transaction",
        "CONCURRENTLY fails in a transaction, which each file is",
        "move it to a file of its own that begins with -- no-transaction; with Alembic in autocommit_block()",
    ),
    LintRule(
        "changing-column-type",
        "rewrites the table and blocks reads and writes meanwhile; the previous release may fail",
        "add a column of the new type, copy in batches, and drop the old one in a later release",
    ),
    LintRule(
        "ban-drop-column",
        "instances of the previous release still use the column",
        "drop it one release after the last use, and silence this rule then",
    ),
    LintRule(
        "ban-drop-table",
        "instances of the previous release still use the table",
        "drop it one release after the last use, and silence this rule then",
    ),
    LintRule(
        "adding-required-field",
        "fails for a table with rows, and inserts of the previous release fail",
        "let it be NULL, or give it a constant DEFAULT",
    ),
    LintRule(
        "adding-not-nullable-field",
        "blocks reads and writes while all rows are read",
        "add CHECK (… IS NOT NULL) NOT VALID, and VALIDATE CONSTRAINT in a later file; SET NOT NULL is fast then",
    ),
    LintRule(
        "adding-field-with-default",
        "a value that differs by row rewrites the table and blocks reads and writes meanwhile",
        "add the column without it, set the default, and fill old rows in batches",
    ),
    LintRule(
        "constraint-missing-not-valid",
        "blocks writes while all rows are checked",
        "add it NOT VALID, and VALIDATE CONSTRAINT in a later file",
    ),
    LintRule(
        "adding-foreign-key-constraint",
        "blocks writes to both tables while all rows are checked",
        "add it NOT VALID, and VALIDATE CONSTRAINT in a later file",
    ),
    LintRule(
        "disallowed-unique-constraint",
        "blocks reads and writes while its index is built",
        "create a unique index CONCURRENTLY, and add the constraint USING INDEX",
    ),
    LintRule(
        "adding-serial-primary-key-field",
        "blocks reads and writes while its index is built",
        "create a unique index CONCURRENTLY, and add the primary key USING INDEX",
    ),
    LintRule(
        "renaming-column",
        "instances of the previous release still use the old name",
        "add a column, write both, and drop the old one in a later release",
    ),
    LintRule(
        "renaming-table",
        "instances of the previous release still use the old name",
        "create a view with the old name in the same transaction",
    ),
]
RULES = {rule.name: rule for rule in _RULES}

_CREATED = re.compile(
    r"CREATE ((?:GLOBAL |LOCAL )?(?:TEMP|TEMPORARY) |UNLOGGED )?TABLE (IF NOT EXISTS )?(?P<table>\S+)"
)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (?P<how>CONCURRENTLY )?.*?\bON (ONLY )?(?P<table>\S+)")
_LOCK_TIMEOUT = re.compile(r"SET (LOCAL |SESSION )?LOCK_TIMEOUT\b")
_CONCURRENT = re.compile(r"(CREATE (UNIQUE )?|DROP |RE)INDEX .*?\bCONCURRENTLY\b")
_LOCKS = re.compile(r"ALTER TABLE |DROP (TABLE|INDEX) (?!CONCURRENTLY)|TRUNCATE |LOCK |REINDEX (?!.*CONCURRENTLY)")
_STATEMENTS = {
    "require-concurrent-index-deletion": re.compile(r"DROP INDEX (?!CONCURRENTLY)"),
    "require-concurrent-reindex": re.compile(r"REINDEX (?!.*\bCONCURRENTLY\b)"),
    "ban-drop-table": re.compile(r"DROP TABLE "),
}
_COLUMN = r"ADD (COLUMN )?(IF NOT EXISTS )?(?!CONSTRAINT|CHECK|FOREIGN|UNIQUE|PRIMARY|EXCLUDE)"
_CONSTANT = r"(- )?('|[\d.]+\b|NULL\b|TRUE\b|FALSE\b|NOW \(|CURRENT_|LOCALTIME|ARRAY \[|\( '|\( [\d.]+ \)|B'|E')"
_GENERATED = r"\b(DEFAULT|GENERATED|SERIAL|BIGSERIAL|SMALLSERIAL)\b"
_COMPUTED = r"(GENERATED (ALWAYS|BY DEFAULT) AS|(BIG|SMALL)?SERIAL)\b"
_NAMED = r"ADD (CONSTRAINT \S+ )?"
_CHECKED = r"(CHECK|FOREIGN KEY|UNIQUE \(|PRIMARY KEY \()"
_ACTIONS = {
    "changing-column-type": re.compile(r"ALTER (COLUMN )?\S+ (SET DATA )?TYPE\b"),
    "ban-drop-column": re.compile(r"DROP (COLUMN |(?!CONSTRAINT))"),
    "adding-required-field": re.compile(rf"{_COLUMN}(?!.*{_GENERATED}).*\bNOT NULL\b"),
    "adding-not-nullable-field": re.compile(r"ALTER (COLUMN )?\S+ SET NOT NULL\b"),
    "adding-field-with-default": re.compile(
        rf"{_COLUMN}.*(\bDEFAULT (?!{_CONSTANT})|\bGENERATED (ALWAYS|BY DEFAULT) AS\b|SERIAL\b)"
    ),
    "constraint-missing-not-valid": re.compile(
        rf"{_NAMED}(CHECK|FOREIGN KEY|UNIQUE \(|PRIMARY KEY \()(?!.*\bNOT VALID)"
    ),
    "adding-foreign-key-constraint": re.compile(rf"({_NAMED}FOREIGN KEY|{_COLUMN}.*\bREFERENCES\b)(?!.*\bNOT VALID)"),
    "disallowed-unique-constraint": re.compile(rf"{_NAMED}UNIQUE (?!USING INDEX)|{_COLUMN}.*\bUNIQUE\b"),
    "adding-serial-primary-key-field": re.compile(rf"{_NAMED}PRIMARY KEY (?!USING INDEX)|{_COLUMN}.*\bPRIMARY KEY\b"),
    "renaming-column": re.compile(r"RENAME (COLUMN )?(?!TO\b|CONSTRAINT\b)\S+ TO "),
    "renaming-table": re.compile(r"RENAME TO "),
}


def find_problems(statements: list[SqlStatement], *, in_transaction: bool) -> Iterator[tuple[SqlStatement, str]]:
    """Yield each statement with the name of a rule that it violates; tables that the same text creates are exempt."""
    created: set[str] = set()
    has_timeout = False
    for statement in statements:
        names = []
        has_timeout |= bool(_LOCK_TIMEOUT.match(statement.words))
        if match := _CREATED.match(statement.words):
            created.add(match["table"])
        elif statement.table not in created:
            names = _violated(statement, created)
        if in_transaction and _CONCURRENT.match(statement.words):
            names.append("ban-concurrent-index-creation-in-transaction")
        locks = _LOCKS.match(statement.words) and statement.table not in created
        if (locks or "require-concurrent-index-creation" in names) and not has_timeout:
            names.insert(0, "require-lock-timeout")
            has_timeout = True  # one warning is enough
        yield from ((statement, name) for name in names if name not in statement.ignored)


def _violated(statement: SqlStatement, created: set[str]) -> list[str]:
    names = [name for name, pattern in _STATEMENTS.items() if pattern.match(statement.words)]
    index = _INDEX.match(statement.words)
    if index and not index["how"] and index["table"] not in created:
        names.append("require-concurrent-index-creation")
    actions = statement.actions
    return names + [name for name, pattern in _ACTIONS.items() if any(map(pattern.match, actions))]
