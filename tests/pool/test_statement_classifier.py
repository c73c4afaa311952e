from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_pool.statement_classifier import StatementParser

NAMES = st.sampled_from(["a", "b", "name", "_x", "id2", "A"])
TEXT = st.text(alphabet="ab :$'\"/*-\\;?\n:x1(", max_size=8)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def dollars(text: str, tag: str) -> str:
    return f"${tag}${text.replace('$', '')}${tag}$"


# Each piece is the text as written, and its form for the database: the text, or the name of a parameter.
Piece = tuple[str, str | None]
LITERALS = st.one_of(
    TEXT.map(quoted),
    TEXT.map(lambda text: '"' + text.replace('"', '""') + '"'),
    TEXT.map(lambda text: "--" + text.replace("\n", " ") + "\n"),
    TEXT.map(lambda text: "/*" + text.replace("*", "").replace("/", "") + "*/"),
    st.sampled_from(["SELECT", "FROM t", "+", ",", "(", ")", "[1:2]", "a.b", "::int", "x::text[]", "1", "1.5", "a:b"]),
)
POSTGRES_LITERALS = st.one_of(
    LITERALS,
    TEXT.map(escaped),
    st.builds(dollars, TEXT, st.sampled_from(["", "tag", "t1", "_"])),
    st.just("/* a /* b */ :no ' */"),
)


def pieces(literals: st.SearchStrategy[str]) -> st.SearchStrategy[list[Piece]]:
    literal = literals.map(lambda text: (text, None))
    parameter = NAMES.map(lambda name: (f":{name}", name))
    colon = st.just(("\\:", ":"))
    return st.lists(st.one_of(literal, parameter, parameter, colon.map(lambda piece: (piece[0], None))), max_size=12)


def expected(parts: list[Piece], numbered: bool) -> tuple[str, tuple[str, ...]]:
    names: list[str] = []
    written = []
    for text, name in parts:
        if name is None:
            written.append(":" if text == "\\:" else text)
            continue
        if not numbered or name not in names:
            names.append(name)
        written.append(f"${names.index(name) + 1}" if numbered else "?")
    return " ".join(written), tuple(names)


@given(pieces(LITERALS))
def test_parameters_in_literals_are_ignored_on_sqlite(parts: list[Piece]) -> None:
    statement = StatementParser("sqlite").parse(" ".join(text for text, _ in parts))
    assert (statement.sql, statement.names) == expected(parts, numbered=False)
    values = {name: number for number, name in enumerate(set(statement.names))}
    assert statement.arguments(values) == [values[name] for name in statement.names]


@given(pieces(POSTGRES_LITERALS))
def test_parameters_in_literals_are_ignored_on_postgresql(parts: list[Piece]) -> None:
    statement = StatementParser("postgresql").parse(" ".join(text for text, _ in parts))
    assert (statement.sql, statement.names) == expected(parts, numbered=True)


@given(
    pieces(POSTGRES_LITERALS), st.sampled_from(["nextval('s')", "public.abs(1)", '"abs"(1)', "pg_catalog.setval(1)"])
)
def test_surrounding_text_does_not_hide_a_write(parts: list[Piece], call: str) -> None:
    around = " ".join(text for text, _ in parts)
    statement = StatementParser("postgresql").parse(f"SELECT {around} {call}")
    assert not statement.is_read_only
    assert not statement.leaves_session_clean


MYSQL_LITERALS = st.one_of(
    TEXT.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    TEXT.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'),
    TEXT.map(lambda text: "`" + text.replace("`", "") + "`"),
    TEXT.map(lambda text: "-- " + text.replace("\n", " ") + "\n"),
    TEXT.map(lambda text: "#" + text.replace("\n", " ") + "\n"),
    TEXT.map(lambda text: "/*" + text.replace("*", "").replace("/", "") + "*/"),
    st.sampled_from(["SELECT", "FROM t", "+", ",", "1", "a.b", "5--1", "@a := 1"]),
)


@given(pieces(MYSQL_LITERALS))
def test_parameters_in_literals_are_ignored_on_mysql(parts: list[Piece]) -> None:
    statement = StatementParser("mysql").parse(" ".join(text for text, _ in parts))
    assert (statement.sql, statement.names) == expected(parts, numbered=False)


@given(POSTGRES_LITERALS, POSTGRES_LITERALS)
def test_literals_do_not_affect_the_classification(first: str, second: str) -> None:
    if first[0] in "'E$-/" and second[0] in "'E$-/":
        assert StatementParser("postgresql").parse(f"SELECT {first} , {second}").is_read_only


READS_PLAIN = (True, True)
WRITES_PLAIN = (False, True)
NEITHER = (False, False)
NATURES = {
    "SELECT 1": READS_PLAIN,
    "select a, b from t where a = :a": READS_PLAIN,
    "  -- why\n SELECT 1;": READS_PLAIN,
    "/* a */ (SELECT 1) UNION (SELECT 2)": READS_PLAIN,
    "SELECT count(*), max(a) FROM t GROUP BY b HAVING sum(c) > 1": READS_PLAIN,
    "SELECT lower(name), coalesce(a, 0), now() FROM t": READS_PLAIN,
    "SELECT pg_catalog.lower('A')": READS_PLAIN,
    "SELECT 'nextval(1); DELETE FROM t'": READS_PLAIN,
    "SELECT $$ DELETE FROM t; $$": READS_PLAIN,
    'SELECT "delete" FROM "insert"': READS_PLAIN,
    "SELECT a FROM t WHERE b IN (1, 2) AND c = ANY(:c)": READS_PLAIN,
    "SELECT EXISTS (SELECT 1 FROM t)": READS_PLAIN,
    "SELECT CAST(a AS varchar(10)), a::numeric(4, 2) FROM t": READS_PLAIN,
    "WITH x AS (SELECT 1) SELECT * FROM x": READS_PLAIN,
    "WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x": READS_PLAIN,
    "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT * FROM x": READS_PLAIN,
    'WITH x (a, "B") AS NOT MATERIALIZED (SELECT 1, 2), y(c) AS (SELECT 3) SELECT * FROM x, y': READS_PLAIN,
    "SELECT v.n FROM (VALUES (1, 2), (3, 4)) AS v (n, m)": READS_PLAIN,
    'SELECT * FROM unnest(:a) WITH ORDINALITY AS "V"(n, place)': READS_PLAIN,
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t FETCH FIRST (:n) ROWS ONLY": READS_PLAIN,
    "VALUES (1), (2)": READS_PLAIN,
    "TABLE t": READS_PLAIN,
    "SHOW work_mem": READS_PLAIN,
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t": READS_PLAIN,
    "SELECT * FROM t JOIN u USING (id)": READS_PLAIN,
    "SELECT * FROM generate_series(1, 3)": READS_PLAIN,
    "SELECT data->>'a' FROM t": READS_PLAIN,
    "SELECT pg_sleep(1)": READS_PLAIN,
    "SELECT to_regclass('t') IS NOT NULL OR to_regproc('f') IS NOT NULL": READS_PLAIN,
    "INSERT INTO t (a, b) VALUES (1, 2)": WRITES_PLAIN,
    'INSERT INTO shop."T" AS x (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a': WRITES_PLAIN,
    "INSERT INTO t SELECT 1 RETURNING id": WRITES_PLAIN,
    "INSERT OR REPLACE INTO t (a) VALUES (1)": WRITES_PLAIN,
    "REPLACE INTO t (a) VALUES (1)": WRITES_PLAIN,
    "UPDATE t SET a = a + 1 WHERE b = lower(:b)": WRITES_PLAIN,
    "DELETE FROM t WHERE a = 1": WRITES_PLAIN,
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x": WRITES_PLAIN,
    "WITH x AS (DELETE FROM t RETURNING *) SELECT count(*) FROM x": WRITES_PLAIN,
    "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x": WRITES_PLAIN,
    "SELECT * FROM t FOR UPDATE": WRITES_PLAIN,
    "SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED": WRITES_PLAIN,
    "SELECT * FROM t FOR SHARE": WRITES_PLAIN,
    "SELECT * FROM t FOR KEY SHARE": WRITES_PLAIN,
    "SELECT pg_advisory_xact_lock(1)": WRITES_PLAIN,
    "SELECT pg_try_advisory_xact_lock(:lock, hashtext(CAST(:prefix AS text)))": WRITES_PLAIN,
    "SELECT a FROM (SELECT pg_try_advisory_xact_lock(:n) AS locked) AS x LEFT JOIN t ON true": WRITES_PLAIN,
    "SELECT 1 INTO made": NEITHER,
    "SELECT replace(a, 'b', 'c') INTO TEMP made FROM t": NEITHER,
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * INTO made FROM x": NEITHER,
    "SELECT nextval('s')": NEITHER,
    "SELECT NEXTVAL ('s')": NEITHER,
    "SELECT nextval/**/('s')": NEITHER,
    "SELECT nextval\n('s')": NEITHER,
    "SELECT \"nextval\"('s')": NEITHER,
    'SELECT "pg_catalog"."lower"(\'s\')': NEITHER,
    "SELECT U&\"\\006eextval\"('s')": NEITHER,
    "SELECT pg_catalog.nextval('s')": NEITHER,
    "SELECT public.lower('s')": NEITHER,
    "SELECT public . lower ('s')": NEITHER,
    "SELECT élower('s')": NEITHER,
    "SELECT my$lower('s')": NEITHER,
    "SELECT `lower`('s')": NEITHER,
    "SELECT set_config('a', 'b', false)": NEITHER,
    "SELECT * FROM dblink('a') AS (a int)": NEITHER,
    "SELECT * FROM t, dblink(a, b) AS (a int)": NEITHER,
    "SELECT * FROM t, dblink(a) AS v(a int)": NEITHER,
    "WITH x AS (SELECT 1), y(a) AS (SELECT nextval('s')) SELECT 1": NEITHER,
    "WITH x(a) AS (SELECT 1) SELECT work(a) AS b, c FROM x": NEITHER,
    "SELECT pg_advisory_lock(1)": NEITHER,
    "SELECT lower(set_config('a', 'b', false))": NEITHER,
    "SELECT /* /* */ ' */ nextval('s') -- '": NEITHER,
    "SELECT 1 -- a\r, nextval('s')": NEITHER,
    "SELECT date'\\', nextval('s'), '": NEITHER,
    "SELECT $t1$ a $t1$, nextval('s'), $t1$ b $t1$": NEITHER,
    "SELECT 1; DELETE FROM t": NEITHER,
    "SELECT 1; SELECT 2": NEITHER,
    "UPDATE t SET a = nextval('s')": NEITHER,
    "INSERT INTO t (a) VALUES (set_config('a', 'b', false))": NEITHER,
    "CALL work()": NEITHER,
    "DO $$ BEGIN END $$": NEITHER,
    "EXPLAIN ANALYZE DELETE FROM t": NEITHER,
    "CREATE TABLE t (a int)": NEITHER,
    "CREATE TEMP TABLE t AS SELECT 1": NEITHER,
    "DROP TABLE t": NEITHER,
    "TRUNCATE t": NEITHER,
    "COPY t TO STDOUT": NEITHER,
    "SET ROLE a": NEITHER,
    "SET LOCAL work_mem = 1": NEITHER,
    "RESET ALL": NEITHER,
    "BEGIN": NEITHER,
    "COMMIT": NEITHER,
    "SAVEPOINT a": NEITHER,
    "LISTEN a": NEITHER,
    "NOTIFY a": NEITHER,
    "SELECT pg_notify('a', 'b')": WRITES_PLAIN,
    "SELECT pg_notify('a', 'b'), my_function()": NEITHER,
    "SELECT app.pg_notify('a', 'b')": NEITHER,
    "SELECT scalekit_work($1)": WRITES_PLAIN,
    "SELECT scalekit_app.work($1)": NEITHER,
    "SELECT scalekit_work(work($1))": NEITHER,
    "PREPARE a AS SELECT 1": NEITHER,
    "EXECUTE a": NEITHER,
    "DECLARE a CURSOR WITH HOLD FOR SELECT 1": NEITHER,
    "LOCK TABLE t": NEITHER,
    "VACUUM": NEITHER,
    "PRAGMA query_only = ON": NEITHER,
    "ATTACH 'a' AS b": NEITHER,
    "MERGE INTO t USING u ON a = b WHEN MATCHED THEN UPDATE SET a = my_function(1)": NEITHER,
    "": NEITHER,
    ";": NEITHER,
    "'SELECT'": NEITHER,
    '"SELECT" 1': NEITHER,
}


@pytest.mark.parametrize(("text", "classify"), NATURES.items(), ids=[repr(text) for text in NATURES])
def test_a_statement_is_classified_by_its_text(text: str, classify: tuple[bool, bool]) -> None:
    statement = StatementParser("postgresql").parse(text)
    assert (statement.is_read_only, statement.leaves_session_clean) == classify
    assert (
        StatementParser("postgresql").parse_native(text).is_read_only,
        StatementParser("postgresql").parse_native(text).leaves_session_clean,
    ) == classify
    assert not StatementParser("postgresql", trust_safe_functions=False).parse(text).leaves_session_clean


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("CREATE TABLE t (a int)", True),
        ("alter table t add b int", True),
        ("/* note */ DROP TYPE mood", True),
        ("SELECT 1; DROP TABLE t", True),
        ("DO $$ BEGIN ALTER TABLE t ADD b int; END $$", True),
        ("CALL change()", True),
        ("SELECT 'DROP TABLE t'", False),
        ("INSERT INTO t (create) VALUES (1)", False),
        ("SET search_path = a", False),
        ("", False),
    ],
)
def test_a_statement_may_change_the_schema(text: str, changes: bool) -> None:
    assert StatementParser("postgresql").parse(text).changes_schema == changes


def test_the_statement_cache_is_bounded() -> None:
    reader = StatementParser("postgresql")
    first = reader.parse("SELECT 0")
    assert reader.parse("SELECT 0") is first
    for number in range(3000):
        reader.parse(f"SELECT {number}")
    assert len(reader._statements) <= 1000


@pytest.mark.parametrize(
    ("text", "is_read_only", "leaves_session_clean"),
    [
        ("SELECT IF(a, 1, 2), DATE_FORMAT(b, '%Y'), JSON_EXTRACT(c, '$.a') FROM t", True, True),
        ("SELECT `a`, \"it's; DELETE FROM t\" FROM t WHERE b = 'it\\'s; DROP TABLE t'", True, True),
        ("SELECT `mine` (1)", False, False),
        ("SELECT GET_LOCK('a', 1)", False, False),
        ("SELECT SLEEP(1)", False, False),
        ("SELECT LAST_INSERT_ID()", False, False),
        ("SELECT @a := 1", True, False),
        ("SELECT @@max_connections", True, True),
        ("SELECT a FROM t LOCK IN SHARE MODE", False, True),
        ("SELECT a FROM t FOR SHARE", False, True),
        ("SELECT a FROM t INTO OUTFILE '/tmp/a'", False, False),
        ("SELECT 1 /*! INTO OUTFILE '/tmp/a' */", False, False),
        ("SELECT 1 /*!50000; DELETE FROM t */", False, False),
        ("SELECT /*+ MAX_EXECUTION_TIME(5) */ 1", True, True),
        ("INSERT IGNORE INTO t (a) VALUES (1)", False, True),
        ("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)", False, True),
        ("REPLACE INTO t VALUES (1)", False, True),
        ("CALL p()", False, False),
        ("SET NAMES latin1", False, False),
        ("LOCK TABLES t READ", False, False),
    ],
)
def test_the_nature_of_mysql_statements(text: str, is_read_only: bool, leaves_session_clean: bool) -> None:
    statement = StatementParser("mysql").parse(text)
    assert (statement.is_read_only, statement.leaves_session_clean) == (is_read_only, leaves_session_clean)
