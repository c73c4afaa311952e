from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scalekit.config.document import dotted, read
from scalekit.errors import ConfigError, Problem

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_a_file_overrides_the_file_that_it_extends(write: Write) -> None:
    write("base.toml", '[server]\nhost = "h"\nport = 1\nallowed_hosts = ["a", "b"]\n[plugins.pool]\nurl = "x"\n')
    file = write("top.toml", 'extends = "base.toml"\n[server]\nport = 2\nallowed_hosts = ["c"]\n[plugins.cache]\n')
    document = read(file, environment={})
    assert document.data == {
        "server": {"host": "h", "port": 2, "allowed_hosts": ["c"]},
        "plugins": {"pool": {"url": "x"}, "cache": {}},
    }


def test_every_value_has_its_file_and_line(write: Write) -> None:
    base = write("base.toml", '[server]\nhost = "h"\nport = 1\n')
    file = write("top.toml", 'extends = "base.toml"\n[server]\nport = 2\n')
    document = read(file, ["server.backlog=5"], {})
    assert str(document.origin(("server", "host"))) == f"{base}:2"
    assert str(document.origin(("server", "port"))) == f"{file}:3"
    assert str(document.origin(("server", "backlog"))) == "--set"
    assert str(document.origin(("server", "allowed_hosts", 3))) == f"{file}:2"


@pytest.mark.parametrize(
    ("key", "line"),
    [("plugins.a.items[1]", 4), ("plugins.a.items[1].more", 4), ("plugins.a.absent", 1), ("plugins.b", 1)],
)
def test_a_problem_of_a_plugin_gets_file_and_line(write: Write, key: str, line: int) -> None:
    file = write("top.toml", "[plugins.a]\nitems = [\n 1,\n 2]\n")
    document = read(file, ["server.port=5"], {})
    assert str(document.with_location(Problem("no", key, plugin="a"))) == f"{file}:{line}: {key}: no (plugin a)"
    assert str(document.with_location(Problem("no", "server.port"))) == "--set: server.port: no"
    assert str(document.with_location(Problem("no", "health"))) == f"{file}: health: no"
    for told in (Problem("no"), Problem("no", key, "other.toml", 7)):
        assert document.with_location(told) is told


def test_the_lines_of_a_replaced_array_are_removed(write: Write) -> None:
    write("base.toml", '[server]\nallowed_hosts = [\n "a",\n "b"]\n')
    document = read(write("top.toml", 'extends = "base.toml"\n[server]\nallowed_hosts = ["c"]\n'), environment={})
    assert ("server", "allowed_hosts", 1) not in document.origins


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[a]\nb = \n", 2, "b has no value; write b = VALUE"),
        ("a = 1\na = 2\n", 2, "the key 'a' occurs twice, first in line 1; remove one"),
        ("[a]\n[a]\n", 2, "the table [a] occurs twice, first in line 1; merge the two"),
        ("a = 'x\n", 2, "not valid TOML"),
        ("a = [1,\n2", 2, "a: the list that starts in line 1"),
    ],
)
def test_a_toml_syntax_error_names_its_line(write: Write, text: str, line: int, message: str) -> None:
    file = write("bad.toml", text)
    with pytest.raises(ConfigError) as caught:
        read(file)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(file), line)
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent", "", "no such file"),
        ("a.toml", 'extends = "a.toml"', "remove one of the two keys"),
        ("a.toml", 'extends = "b.toml"', "there is no file 'b.toml'"),
        ("a.toml", 'extends = "b\\u0000c"', r"there is no file 'b\\x00c'"),
        pytest.param("a.toml", f'extends = "{"b" * 5000}"', "there is no file 'bbb", id="long name"),
        pytest.param("a.toml", f"a = {'[' * 400}{']' * 400}", "nested deeper than 64 levels", id="deep"),
        pytest.param("a.toml", f"a = {'[' * 3000}{']' * 3000}", "nested deeper than 64 levels", id="very deep"),
        pytest.param("a.toml", f"[{'a.' * 3000}a]", "nested deeper than 64 levels", id="deep tables"),
    ],
)
def test_invalid_extends_is_rejected(write: Write, name: str, text: str, message: str) -> None:
    file = write(name, text)
    if name == "absent":
        file.unlink()
    with pytest.raises(ConfigError, match=message):
        read(file)


def test_a_cycle_over_three_files_is_rejected(write: Write) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        write(f"{name}.toml", f'extends = "{base}.toml"\n')
    with pytest.raises(ConfigError, match="remove one of the two keys"):
        read(write("d.toml", 'extends = "a.toml"'))


def test_a_folder_instead_of_a_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path)


def test_a_byte_order_mark_is_ignored(write: Write) -> None:
    file = write("marked.toml", "\ufeff[server]\nport = 1\n")
    document = read(file)
    assert document.data == {"server": {"port": 1}}
    assert document.origin(("server", "port")).line == 2


@pytest.mark.parametrize("base", ['"postgres://u:hunter2@h/d"', '["postgres://u:hunter2@h/d"]'])
def test_a_password_instead_of_a_file_name_is_not_shown(write: Write, base: str) -> None:
    try:
        problems = read(write("a.toml", f"extends = {base}\n")).problems
    except ConfigError as error:
        problems = list(error.problems)
    assert [problem.key for problem in problems] == ["extends"]
    assert "hunter2" not in str(problems)


def test_an_override_without_an_equals_sign_is_not_shown() -> None:
    (problem,) = read({}, ["server.token:hunter2"]).problems
    assert problem.message == "expected key=value in UTF-8, such as server.port=9000"


@pytest.mark.parametrize(
    "override", ["server", "=1", "a..b=1", "server.host.x=1", "server.host=\udcff", f"{'a.' * 64}a=1"]
)
def test_an_invalid_override_is_a_problem(override: str) -> None:
    document = read({"server": {"host": "h"}}, [override])
    assert [problem.file for problem in document.problems] == ["--set"]


def test_an_override_reads_toml_and_falls_back_to_text() -> None:
    document = read({}, ["a.number=5", "a.text=hello", "a.quoted='5'", "a.url=redis://x?y=z"])
    assert document.data == {"a": {"number": "5", "text": "hello", "quoted": "5", "url": "redis://x?y=z"}}
    assert document.literals["a", "number"] == 5


def test_a_missing_variable_is_a_problem_that_names_key_and_variable(write: Write) -> None:
    file = write("a.toml", '[plugins.pool]\n\nurl = "${NO_SUCH_VARIABLE}"\n')
    (problem,) = read(file, environment={}).problems
    assert str(problem) == (
        f"{file}:3: plugins.pool.url: environment variable NO_SUCH_VARIABLE is not set;"
        " set it, or write ${NO_SUCH_VARIABLE:-default}"
    )


def test_a_variable_of_an_overridden_value_is_not_required(write: Write) -> None:
    file = write("a.toml", '[server]\nhost = "${NO_SUCH_VARIABLE}"\n')
    assert read(file, ["server.host=here"], {}).problems == []


def test_the_process_environment_is_used_and_named_as_origin(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "THE_HOST", "example")
    file = write("a.toml", '[server]\nhost = "${THE_HOST}"\n')
    document = read(file)
    assert document.data["server"]["host"] == "example"
    assert str(document.origin(("server", "host"))) == f"{file}:2, environment THE_HOST"


def test_a_mapping_is_read_like_a_file_and_not_modified() -> None:
    source = {"server": {"host": "${X:-h}", "allowed_hosts": ["${X:-a}"]}}
    document = read(source, ["server.port=1"], {})
    assert document.data["server"] == {"host": "h", "allowed_hosts": ["a"], "port": "1"}
    assert source == {"server": {"host": "${X:-h}", "allowed_hosts": ["${X:-a}"]}}


def test_keys_are_shown_in_toml_notation() -> None:
    assert dotted(("plugins", "ratelimit", "policies", 2, "limit")) == "plugins.ratelimit.policies[2].limit"


def test_a_whole_table_can_be_set_on_the_command_line() -> None:
    document = read({"server": {"port": 1}}, ["server={host = '::1'}", "plugins.cache={}", "app.target={}"])
    assert document.data == {"server": {"host": "::1"}, "plugins": {"cache": {}}, "app": {"target": "{}"}}


def test_a_file_that_is_not_utf_8_is_rejected_with_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes('[app]\ntarget = "a:b"\nname = "café"\n'.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read(file)
    assert str(caught.value.problems[0]) == f"{file}:3: contains bytes that are not UTF-8; save the file as UTF-8"
