from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import MASK, Context, Server, mask_passwords
from scalekit.pages import (
    ActionForm,
    Chart,
    Code,
    Column,
    DataTable,
    Facts,
    Link,
    Notice,
    Series,
    Text,
    Tree,
    TreeNode,
    Unit,
)
from scalekit_console.console import blocks_as_json
from scalekit_console.sanitizer import MAX_ROWS, MAX_TEXT, Sanitizer

SECRET = "s3cr3t-of-the-file"
SANITIZER = Sanitizer(Context(Server(), {}, lambda text: mask_passwords(text.replace(SECRET, MASK))))


def shown(block: Any) -> str:
    return repr(blocks_as_json(SANITIZER.blocks([block])))


@pytest.mark.parametrize(
    "text",
    [SECRET, "password=hunter2", "redis://user:hunter2@host/0", "Authorization: Bearer hunter2", "token: hunter2"],
)
def test_a_secret_is_masked_wherever_a_block_has_a_text(text: str) -> None:
    blocks = [
        Facts({text: text}, text),
        DataTable([Column(text)], [[text]], text, empty=text),
        DataTable([Column("button")], [[ActionForm("act", {}, text)]]),
        DataTable([Column("link")], [[Link(text, "cache")]]),
        Chart(text, [Series(text, [1.0])], 1),
        Tree([TreeNode(text, 0, 1, {text: text}, [TreeNode(text, 0, 1)])], text),
        Text(text),
        Code(text, text),
        Notice(text, text),
    ]
    for block in blocks:
        assert "hunter2" not in shown(block), block
        assert SECRET not in shown(block), block


def test_the_value_of_a_secret_name_is_masked() -> None:
    assert "hunter2" not in shown(Facts({"db_password": "hunter2"}))
    assert "hunter2" not in shown(DataTable([Column("api key")], [["hunter2"]]))
    assert "hunter2" not in shown(Tree([TreeNode("call", 0, 1, {"http.authorization": "hunter2"})]))


def test_a_form_or_link_whose_value_would_show_a_secret_is_text() -> None:
    for cell in (ActionForm("purge", {"tag": SECRET}, "Purge"), Link("Show", "cache", {"password": "hunter2"})):
        (row,) = SANITIZER.blocks([DataTable([Column("do")], [[cell]])])[0].rows  # type: ignore[union-attr] # a table
        assert row == [cell.label if isinstance(cell, ActionForm) else cell.text]


def test_a_form_keeps_its_values() -> None:
    assert SANITIZER.blocks([ActionForm("purge", {"tag": "<b>"})]) == [ActionForm("purge", {"tag": "<b>"})]


def test_texts_rows_labels_and_depth_are_bounded() -> None:
    (facts,) = SANITIZER.blocks([Facts({f"f{number}": "x" * 10_000 for number in range(10_000)})])
    assert isinstance(facts, Facts)
    assert len(facts.facts) == MAX_ROWS
    assert {len(str(value)) for value in facts.facts.values()} == {MAX_TEXT + 1}
    (table,) = SANITIZER.blocks([DataTable([Column("n")], [[n] for n in range(MAX_ROWS + 7)], more=3)])
    assert isinstance(table, DataTable)
    assert (len(table.rows), table.more) == (MAX_ROWS, 10)
    node = TreeNode("leaf", 0, 1)
    for _ in range(5_000):
        node = TreeNode("inner", 0, 1, children=[node])
    assert shown(Tree([node])).count("inner") < 100


def test_characters_that_mislead_are_escaped() -> None:
    assert SANITIZER.text("a\u202eb\x00c\x1b[2Jd\ud800") == "a\\u202eb\\x00c\\x1b[2Jd\\ud800"
    assert SANITIZER.text("line\n\tindented") == "line\n\tindented"


def test_numbers_beyond_json_become_floating() -> None:
    (facts,) = SANITIZER.blocks([Facts({"n": 10**400, "unit": 3}, units={"n": Unit.BYTES})])
    assert isinstance(facts, Facts)
    assert facts.facts == {"n": 1e300, "unit": 3}


@given(st.text())
def test_every_text_can_be_encoded(text: str) -> None:
    SANITIZER.text(text).encode()


def test_a_page_with_too_many_values_fails() -> None:
    children: list[TreeNode] = []
    children += [TreeNode(name, 0, 1, children=children) for name in ("left", "right")]
    with pytest.raises(ValueError, match="more than 200000 values"):
        shown(Tree(children))


@pytest.mark.parametrize("value", [b"bytes", bytearray(b"x"), {1}, object(), 1j])
def test_a_value_of_another_type_fails(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot show a value of type"):
        shown(DataTable([Column("value")], [[value]]))


def test_the_latest_points_of_a_long_series_are_shown() -> None:
    [chart] = SANITIZER.blocks([Chart("load", [Series("all", list(range(10 * MAX_ROWS)))], 1)])
    assert isinstance(chart, Chart)
    assert (len(chart.series[0].points), chart.series[0].points[-1]) == (MAX_ROWS, 10 * MAX_ROWS - 1)


def test_integers_of_any_size_are_shown() -> None:
    assert shown(Facts({"huge": 10**400, "negative": -(10**400)})).count("1e+300") == 2
