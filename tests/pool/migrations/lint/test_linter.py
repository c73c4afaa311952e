from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scalekit_pool.migrations.lint import linter as linter_module
from scalekit_pool.migrations.lint.linter import LintError, LintWarning, MigrationLinter, find_squawk
from scalekit_pool.migrations.lint.rules import RULES

pytestmark = [pytest.mark.anyio, pytest.mark.process]

TIMEOUT = "SET lock_timeout = '2s';\n"
VIOLATIONS = {
    "CREATE INDEX i ON users (name)": {"require-concurrent-index-creation"},
    'create unique index i on "My users" using gin (name)': {"require-concurrent-index-creation"},
    "DROP INDEX i": {"require-concurrent-index-deletion"},
    "REINDEX TABLE users": {"require-concurrent-reindex"},
    "ALTER TABLE users ALTER COLUMN id TYPE bigint": {"changing-column-type"},
    "ALTER TABLE s.users ALTER n SET DATA TYPE text USING n::text": {"changing-column-type"},
    "ALTER TABLE users DROP COLUMN x": {"ban-drop-column"},
    'alter table if exists only "users" drop "x"': {"ban-drop-column"},
    "DROP TABLE IF EXISTS users": {"ban-drop-table"},
    "ALTER TABLE users ADD COLUMN note text NOT NULL": {"adding-required-field"},
    "ALTER TABLE users ALTER COLUMN a SET NOT NULL": {"adding-not-nullable-field"},
    "ALTER TABLE users ADD COLUMN k uuid DEFAULT gen_random_uuid()": {"adding-field-with-default"},
    "ALTER TABLE users ADD COLUMN g int GENERATED ALWAYS AS (a + 1) STORED": {"adding-field-with-default"},
    "ALTER TABLE users ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY": {"adding-field-with-default"},
    "ALTER TABLE users ADD CONSTRAINT c CHECK (a > 0)": {"constraint-missing-not-valid"},
    "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES b (id)": {
        "adding-foreign-key-constraint",
        "constraint-missing-not-valid",
    },
    "ALTER TABLE users ADD COLUMN r bigint REFERENCES b (id)": {"adding-foreign-key-constraint"},
    "ALTER TABLE users ADD UNIQUE (a)": {"disallowed-unique-constraint", "constraint-missing-not-valid"},
    "ALTER TABLE users ADD PRIMARY KEY (id)": {"adding-serial-primary-key-field", "constraint-missing-not-valid"},
    "ALTER TABLE users RENAME COLUMN a TO b": {"renaming-column"},
    "ALTER TABLE users RENAME TO people": {"renaming-table"},
    "ALTER TABLE users ADD a int, ADD b text NOT NULL, DROP COLUMN c": {"adding-required-field", "ban-drop-column"},
}
HARMLESS = [
    "ALTER TABLE users ADD COLUMN a bigint DEFAULT 1, ADD b text NOT NULL DEFAULT 'x, DROP COLUMN c'",
    "ALTER TABLE users ADD COLUMN at timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE users ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES b (id) NOT VALID",
    "ALTER TABLE users VALIDATE CONSTRAINT of_another_file",
    "ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX i",
    "ALTER TABLE users DROP CONSTRAINT u",
    "ALTER TABLE users RENAME CONSTRAINT a TO b",
    "ALTER TABLE users ALTER COLUMN a SET DEFAULT 1",
    "ALTER TABLE users ALTER COLUMN a DROP NOT NULL",
    "INSERT INTO users VALUES (1, 'DROP TABLE x;')",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DROP TABLE x; SELECT 1 $$",
    "CREATE TABLE t (id bigint PRIMARY KEY); CREATE INDEX i ON t (id)",
    "-- squawk-ignore ban-drop-table\nDROP TABLE x",
    "-- squawk-ignore-file ban-drop-table\nSELECT 1;\nDROP TABLE x",
]


@pytest.fixture(params=["own", "squawk"])
def linter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MigrationLinter:
    """Return a linter with rules of our own, and one with the real squawk."""
    if request.param == "own":
        monkeypatch.setattr(linter_module, "find_squawk", lambda: None)
    else:
        assert find_squawk() is not None
    return MigrationLinter(True)


async def test_statements_that_lock_violate_a_rule(linter: MigrationLinter) -> None:
    found: dict[str, set[str]] = {sql: set() for sql in VIOLATIONS}
    lines = list(VIOLATIONS)
    for warning in await linter.lint(TIMEOUT + ";\n".join(lines)):
        found[lines[warning.line - 2]].add(warning.rule)
    assert found == VIOLATIONS
    others = {"require-lock-timeout", "ban-concurrent-index-creation-in-transaction"}
    assert set().union(*found.values()) | others == set(RULES)


async def test_statements_that_do_not_lock_violate_none(linter: MigrationLinter) -> None:
    assert await linter.lint(TIMEOUT + ";\n".join(HARMLESS)) == []


async def test_a_warning_has_line_statement_reason_and_remedy(linter: MigrationLinter) -> None:
    drop = "-- users\n\nSELECT 1;\nALTER TABLE users\n  DROP COLUMN name;\nDROP INDEX CONCURRENTLY i;\n"
    text = f"{drop}CREATE INDEX CONCURRENTLY j ON users (a);\n"
    first, second, *_ = await linter.lint(text)
    assert {first.rule, second.rule} == {"require-lock-timeout", "ban-drop-column"}
    assert {first.line, second.line} == {4}
    found = await linter.lint(text)
    assert found[-1] == LintWarning(
        7, "ban-concurrent-index-creation-in-transaction", "CREATE INDEX CONCURRENTLY j ON users (a)"
    )
    shown = next(each for each in found if each.rule == "ban-drop-column").describe("a.sql:4")
    assert shown == (
        "a.sql:4: ban-drop-column: ALTER TABLE users DROP COLUMN name: instances of the previous release still use "
        "the column: drop it one release after the last use, and silence this rule then"
    )
    excluded = MigrationLinter(False, frozenset({"require-lock-timeout", "ban-drop-column"}))
    assert await excluded.lint(text) == []


async def test_text_that_is_no_sql_is_left_to_the_database(linter: MigrationLinter) -> None:
    assert await linter.lint("SELECT 'never closed") == []
    assert await linter.lint("nonsense; \n") == []
    assert await linter.lint("") == []


async def test_a_broken_squawk_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "squawk"
    program.write_text(f"#!{sys.executable}\nprint('unexpected option')\n")
    program.chmod(0o755)
    monkeypatch.setattr(linter_module, "find_squawk", lambda: str(program))
    with pytest.raises(LintError, match="squawk failed: unexpected option: update or uninstall squawk"):
        await MigrationLinter(True).lint("DROP TABLE x;")
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    monkeypatch.setattr(linter_module, "SQUAWK_TIMEOUT", 0.2)
    with pytest.raises(LintError, match=r"squawk has not finished within 0\.2 s"):
        await MigrationLinter(True).lint("DROP TABLE x;")
