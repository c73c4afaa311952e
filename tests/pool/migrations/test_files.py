from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.migrations.files import MigrationError, read_migrations
from scalekit_pool.migrations.sql_script import find_unsupported, split_statements


def test_files_are_read_by_number_and_others_ignored(tmp_path: Path) -> None:
    for name in ("0002_b.sql", "10_c.sqlite.sql", "0001_a-b.sql", "11_d.postgresql.sql", "README.md", ".gitkeep"):
        (tmp_path / name).write_text("SELECT 1;")
    assert [each.name for each in read_migrations(tmp_path, "sqlite")] == ["0001_a-b", "0002_b", "10_c"]
    assert [each.name for each in read_migrations(str(tmp_path), "postgresql")] == ["0001_a-b", "0002_b", "11_d"]


@pytest.mark.parametrize(
    "name",
    ["users.sql", "0001.sql", "0001_.sql", "0001_a.SQL", "0001_a.oracle.sql", "0001_a.sql~", "0001-a.sql", "1_ä.sql"],
)
def test_an_invalid_file_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError) as caught:
        read_migrations(tmp_path, "sqlite")
    assert str(caught.value) == (
        f"{tmp_path / name}: not a migration file name: name it like 0001_create_users.sql or "
        "0001_create_users.sqlite.sql (postgresql, sqlite, mysql), or move it elsewhere"
    )


@pytest.mark.parametrize("other", ["1_b.sql", "0001_a.sqlite.sql"])
def test_a_duplicate_number_is_refused(tmp_path: Path, other: str) -> None:
    for name in ("0001_a.sql", other):
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=rf"{tmp_path}/.*: number 1 is also used by .*: rename one of them"):
        read_migrations(tmp_path, "sqlite")


def test_an_unreadable_file_raises_an_error_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "0001_a.sql"
    for content, message in (
        (b"SELECT '\xff'", "not UTF-8 at byte 8: save it as UTF-8"),
        ("SELECT 1".encode("utf-16-le"), "contains a NUL character: save it as text in UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(MigrationError) as caught:
            read_migrations(tmp_path, "sqlite")
        assert str(caught.value) == f"{path}: {message}"
    path.unlink()
    path.mkdir()
    with pytest.raises(MigrationError, match=f"{path}: cannot be read: Is a directory: fix its permissions"):
        read_migrations(tmp_path, "sqlite")


def test_an_empty_or_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        MigrationError, match=f"{tmp_path}: no migrations for sqlite: add a file, like 0001_create_users"
    ):
        read_migrations(tmp_path, "sqlite")
    (tmp_path / "0001_a.postgresql.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="no migrations for sqlite"):
        read_migrations(tmp_path, "sqlite")
    with pytest.raises(MigrationError, match=r"absent: No such file or directory: create the folder, or set"):
        read_migrations(tmp_path / "absent", "sqlite")


def control(text: str, dialect: str) -> tuple[int, str] | None:
    found = find_unsupported(text, dialect)
    if found is None:
        return None
    assert found[1].startswith("remove ")
    assert found[1].endswith(": each file already runs in its own transaction")
    return found[0], found[1].removeprefix("remove ").partition(":")[0]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("BEGIN;\nSELECT 1;\nCOMMIT;", (1, "BEGIN")),
        ("-- first\nSELECT 1; /* ; */\n  Commit ;", (3, "COMMIT")),
        ("SELECT ';'; rollback", (1, "ROLLBACK")),
        ("SELECT 1;\nEND TRANSACTION;", (2, "END")),
        ("SELECT 1; ROLLBACK TO SAVEPOINT a;", None),
        ("SELECT 1 -- ; COMMIT;\n;", None),
        ("SELECT '\n; COMMIT;', \"; COMMIT;\";", None),
        ("/*\n; COMMIT; */ SELECT 1;", None),
        ("SELECT 1 AS begin; SELECT beginning FROM commits; commits", None),
    ],
)
def test_a_file_that_ends_its_transaction_is_found(text: str, found: tuple[int, str] | None, dialect: str) -> None:
    assert control(text, dialect) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DO $$ BEGIN PERFORM 1; COMMIT; END; $$;", None),
        ("SELECT $a$ $$; COMMIT; $$ $a$;\nABORT", (2, "ABORT")),
        (r"SELECT E'\'; COMMIT; ';", None),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; START  TRANSACTION;", (1, "START  TRANSACTION")),
        ("PREPARE TRANSACTION 'a'; PREPARE a AS SELECT 1;", (1, "PREPARE TRANSACTION")),
        ("PREPARE a AS SELECT 1;", None),
    ],
)
def test_quoted_text_is_no_statement_on_postgresql(text: str, found: tuple[int, str] | None) -> None:
    assert control(text, "postgresql") == found


def test_a_file_that_ends_its_transaction_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0001_a.sql"
    path.write_text("BEGIN;\nSELECT 1;\nCOMMIT;")
    for dialect in ("sqlite", "postgresql"):
        with pytest.raises(MigrationError) as caught:
            read_migrations(tmp_path, dialect)
        assert str(caught.value) == f"{path}:1: remove BEGIN: each file already runs in its own transaction"


def test_copy_from_stdin_is_refused() -> None:
    text = "CREATE TABLE a (b int);\nCOPY public.a (b) FROM stdin;\n1\n\\.\n"
    remedy = "use INSERT instead of COPY FROM STDIN, as pg_dump --inserts does"
    assert find_unsupported(text, "postgresql") == (2, remedy)
    assert find_unsupported("COPY a TO STDOUT; SELECT ' FROM STDIN'; COPY a FROM 'file'", "postgresql") is None


PIECES = ("SELECT 1", "SELECT ';'", 'SELECT ";"', "SELECT 1 -- ; \n", "SELECT /* ; \n */ 1", "SELECT '''\n;'")
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT ';'; SELECT 2; END"
BETWEEN = ("", " ", "\n", "-- ; a\n", "/* ;\n */", "\n\n")


@given(st.lists(st.tuples(st.sampled_from(BETWEEN), st.sampled_from((*PIECES, TRIGGER)))), st.sampled_from(BETWEEN))
def test_a_script_is_split_into_its_statements(pieces: list[tuple[str, str]], end: str) -> None:
    text, expected = "", []
    for between, statement in pieces:
        text += between
        expected.append((text.count("\n") + 1, f"{statement};"))
        text += f"{statement};"
    assert list(split_statements(text + end)) == expected
    without = [*expected[:-1], (expected[-1][0], expected[-1][1][:-1])] if expected else []
    if without:
        assert list(split_statements(text[:-1])) == without
