from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from scalekit import Context, Server
from scalekit.pages import (
    ActionForm,
    Badge,
    Block,
    Chart,
    Code,
    Column,
    ConsolePage,
    DataTable,
    Facts,
    FormField,
    Link,
    Notice,
    PageAction,
    PageView,
    QueryForm,
    Series,
    Text,
    Tree,
    TreeNode,
)
from scalekit_console.charts import BAR_WIDTH
from scalekit_console.formats import DASH
from scalekit_console.html_blocks import BlockRenderer
from scalekit_console.sanitizer import Sanitizer

SANITIZER = Sanitizer(Context(Server(), {}))
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


async def nothing(view: PageView) -> list[Block]:
    return []


async def act(values: object) -> str:
    return ""


def page(text: str = "field", *, confirm: str = "") -> ConsolePage:
    fields = [FormField("tag", text, required=True, placeholder=text), FormField("kind", text, choices=[text, "b"])]
    return ConsolePage("shop", text, nothing, actions=[PageAction("purge", text, act, fields, confirm=confirm)])


def render(*blocks: Block, of: ConsolePage | None = None, csrf_token: str = "csrf") -> str:
    return BlockRenderer(of or page(), "/-/", csrf_token).render(SANITIZER.blocks(blocks))


def test_cells_have_the_value_by_which_they_are_sorted() -> None:
    cells = [1234567, 0.25, None, float("nan"), True, "text", Badge("good")]
    found = render(DataTable([Column(str(number)) for number in range(len(cells))], [cells]))
    values = [re.search('data-value="(.*)"', cell) for cell in re.findall("<td.*?>", found)]
    assert [value and value[1] for value in values] == ["1234567", "0.25", "", "", None, None, None]


def every_block(text: str) -> list[Block]:
    return [
        Facts({text: text, "badge": Badge(text), "link": Link(text, "shop", {"q": text})}, text),
        DataTable([Column(text)], [[text], [ActionForm("purge", {"tag": text}, text)]], text, more=2),
        DataTable([Column(text)], [], text, empty=text),
        Chart(text, [Series(text, [0.0, None, 1.0])], 5),
        Tree([TreeNode(text, 0, 1, {text: text}, [TreeNode(text, 0.5, 0.5, failed=True)])], text),
        Text(text),
        Code(text, text),
        Notice(text, text),
        QueryForm({"q": text}, {"q": text}, text),
        ActionForm("purge", {}, text),
    ]


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def elements(text: str) -> Elements:
    found = Elements()
    found.feed(render(*every_block(text), of=page(text, confirm=text)))
    return found


def test_markup_in_any_text_stays_text() -> None:
    hostile, plain = elements(MARKUP), elements("plain")
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert not {"script", "img", "style"} & set(plain.tags)
    assert "style" not in plain.attributes


@given(st.text(min_size=1))
def test_no_text_adds_an_element_or_an_attribute(text: str) -> None:
    plain = elements("plain")
    assert set(elements(text).tags) <= set(plain.tags)
    assert set(elements(text).attributes) <= set(plain.attributes)


def test_a_form_has_the_token_and_the_fields_without_a_value() -> None:
    markup = render(ActionForm("purge", {"tag": "a b"}))
    assert '<input type="hidden" name="csrf_token" value="csrf">' in markup
    assert '<input type="hidden" name="tag" value="a b">' in markup
    assert "<select" in markup
    assert 'method="post" action="/-/shop/purge"' in markup


def test_forms_of_actions_are_not_shown_without_a_token_nor_for_unknown_actions() -> None:
    assert render(ActionForm("purge"), csrf_token="") == ""
    assert render(ActionForm("other")) == ""


def test_an_action_with_a_question_takes_two_clicks() -> None:
    assert render(ActionForm("purge"), of=page(confirm="Really?")).startswith('<details class="confirm"><summary>')


def test_columns_of_numbers_are_aligned() -> None:
    markup = render(DataTable([Column("n"), Column("t")], [[1, "a"], [None, "b"]]))
    assert '<td class="number" data-value="1">1</td><td>a</td>' in markup
    assert f'<td class="number" data-value="">{DASH}</td><td>b</td>' in markup


def test_points_that_are_not_finite_are_gaps() -> None:
    nan, inf = float("nan"), float("inf")
    markup = render(Chart("load", [Series("all", [1.0, nan, 2.0, inf, -inf, 3.0])], 1))
    assert markup.count("<polyline") == 3
    assert "nan" not in markup
    assert "inf" not in markup


def test_the_time_line_of_a_tree_ends_with_the_last_node() -> None:
    later = TreeNode("message", 3.0, 1.0)
    markup = render(Tree([TreeNode("request", 0.0, 1.0, children=[TreeNode("publish", 0.5, 0.5, children=[later])])]))
    places = [(float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', markup)]
    assert places == [(0.0, BAR_WIDTH / 4), (BAR_WIDTH / 8, BAR_WIDTH / 8), (BAR_WIDTH * 3 / 4, BAR_WIDTH / 4)]
