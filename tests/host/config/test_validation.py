from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from scalekit.config import Duration, Secret, Size, Table, Url
from scalekit.config.document import read
from scalekit.config.validation import parse


class Inner(Table):
    name: str
    weight: int = 1


class Sample(Table):
    count: Annotated[int, Field(ge=1)] = 1
    share: float = 0.5
    on: bool = False
    text: str = ""
    wait: Duration = Duration("1s")
    size: Size = Size("1KiB")
    url: Url | None = None
    password: Secret | None = None
    api_key: int = 0
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}
    either: int | list[int] = 0


def problems(toml: str, tmp_path: Path, *overrides: str, **environment: str) -> list[str]:
    file = tmp_path / "a.toml"
    file.write_text("[sample]\n" + toml, encoding="utf-8")
    document = read(file, overrides, environment)
    parse(Sample, document, ("sample",), plugin="p")
    return [str(problem).removeprefix(f"{file}:") for problem in document.problems]


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("cuont = 1", ["2: sample.cuont: unknown key; did you mean 'count'? (plugin p)"]),
        ("COUNT = 1", ["2: sample.COUNT: unknown key; did you mean 'count'? (plugin p)"]),
        ('count = "x"', ["2: sample.count: should be a valid integer, got 'x' (plugin p)"]),
        ("count = true", ["2: sample.count: should be a valid integer, got true (plugin p)"]),
        ("count = 1.0", ["2: sample.count: should be a valid integer, got 1.0 (plugin p)"]),
        ("count = 0", ["2: sample.count: should be greater than or equal to 1, got 0 (plugin p)"]),
        ("on = 1", ["2: sample.on: should be true or false, without quotes, got 1 (plugin p)"]),
        ("text = 5", ["2: sample.text: should be text in quotes, got 5 (plugin p)"]),
        ("share = inf", ["2: sample.share: should be a valid number, got inf (plugin p)"]),
        (
            'url = "nope"',
            ["2: sample.url: expected a URL with a scheme, such as redis://127.0.0.1:6379, got 'nope'"],
        ),
        (
            "[sample.inner]\nweight = 1",
            ["2: sample.inner.name: is required; write name = ... in [sample.inner] (plugin p)"],
        ),
        (
            "many = [\n{name = 'a'},\n{nme = 'b'}]",
            ["4: sample.many[1].nme: unknown key; did you mean 'name'? (plugin p)"],
        ),
        ("[sample.named.x]\nname = 'a'\nwieght = 3", ["4: sample.named.x.wieght: unknown key; did you mean 'weight'?"]),
    ],
)
def test_a_mistake_is_explained_with_line_key_and_plugin(toml: str, expected: list[str], tmp_path: Path) -> None:
    found = problems(toml, tmp_path)
    assert any(expected[0] in each for each in found), found


def test_an_unknown_key_without_a_close_name_lists_the_known_ones(tmp_path: Path) -> None:
    (found,) = problems("[sample.inner]\nname = 'a'\nzzz = 1", tmp_path)
    assert found.endswith("unknown key; known: name, weight (plugin p)")


def test_every_mistake_of_a_table_is_found_in_one_run(tmp_path: Path) -> None:
    found = problems('count = 0\nwait = 5\nsize = "big"\nfoo = 1\n[sample.inner]\n', tmp_path)
    assert sorted(each.split(":")[0] for each in found) == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("count", "7", 7),
        ("share", "0.25", 0.25),
        ("on", "true", True),
        ("text", "7", "7"),
        ("text", "true", "true"),
        ("wait", "3s", 3.0),
        ("size", "512", 512),
        ("either", "[1, 2]", [1, 2]),
    ],
)
def test_text_from_the_environment_gets_the_type_of_its_key(key: str, text: str, value: Any) -> None:
    for document in (
        read({"sample": {key: "${VALUE}"}}, environment={"VALUE": text}),
        read({}, [f"sample.{key}={text}"], {}),
    ):
        parsed = parse(Sample, document, ("sample",))
        assert document.problems == []
        assert parsed is not None
        assert getattr(parsed, key) == value


def test_text_from_the_environment_of_a_wrong_type_is_not_shown(tmp_path: Path) -> None:
    (found,) = problems('count = "${VALUE}"', tmp_path, VALUE="hunter2")
    assert found == "2: sample.count: should be a valid integer, got *** (plugin p)"
    (found,) = problems('wait = "${VALUE}"', tmp_path, VALUE="hunter2")
    assert "hunter2" not in found
    assert "expected a duration" in found


def test_a_mistake_in_a_reference_is_the_only_one_of_its_key(tmp_path: Path) -> None:
    (found,) = problems('count = "${UNSET}"', tmp_path)
    assert "environment variable UNSET is not set" in found
    (found,) = problems('count = "${VALUE}"', tmp_path, VALUE="\udcff")
    assert "environment variable VALUE is not UTF-8" in found


@pytest.mark.parametrize("number", [2**63, 10**20, -(10**30)])
def test_a_number_of_any_size_is_reported(number: int, tmp_path: Path) -> None:
    (found,) = problems(f"text = {number}", tmp_path)
    assert found == f"2: sample.text: should be text in quotes, got {number} (plugin p)"
    assert problems(f'wait = "${{VALUE}}"\nweight = {number}', tmp_path, VALUE="1s")[0].startswith("3: sample.weight")


def test_text_with_too_deep_a_literal_is_a_string(tmp_path: Path) -> None:
    for depth in (400, 3000):
        assert len(problems("", tmp_path, f"sample.count={'[' * depth}{']' * depth}")) == 1


def test_a_password_in_an_invalid_url_is_masked(tmp_path: Path) -> None:
    (found,) = problems('count = "postgres://u:hunter2@h/d"', tmp_path)
    assert found == "2: sample.count: should be a valid integer, got 'postgres://u:***@h/d' (plugin p)"


def test_values_of_keys_with_secret_names_are_masked(tmp_path: Path) -> None:
    (found,) = problems('api_key = "hunter2"', tmp_path)
    assert found == "2: sample.api_key: should be a valid integer, got *** (plugin p)"
    (found,) = problems("password = 12345", tmp_path)
    assert "12345" not in found


def test_a_table_is_frozen() -> None:
    sample = parse(Sample, read({}), ("sample",))
    assert sample is not None
    with pytest.raises(ValueError, match="frozen"):
        sample.count = 2
