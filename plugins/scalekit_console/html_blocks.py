"""Blocks as HTML. They have passed the sanitizer; :func:`scalekit_console.elements.element` escapes their texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from scalekit.pages import (
    ActionForm,
    Badge,
    Block,
    Cell,
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
    QueryForm,
    Text,
    Tree,
    TreeNode,
    Unit,
)
from scalekit_console.charts import chart_figure, time_bar
from scalekit_console.elements import Html, element, join
from scalekit_console.formats import DASH, format_number
from scalekit_console.forms import MAX_VALUE

MAX_NODES = 2_000
"""Nodes of a tree that are shown."""


class BlockRenderer:
    """Renders the blocks of *page*; *base* is the path of the index, *csrf_token* is sent with every form.

    Without a *csrf_token* forms of actions are not shown.
    """

    def __init__(self, page: ConsolePage, base: str, csrf_token: str) -> None:
        self._page = page
        self._base = base
        self._csrf_token = csrf_token
        self._actions = {action.name: action for action in page.actions}
        self._fields = 0

    def render(self, blocks: Sequence[Block]) -> Html:
        """Return the markup of *blocks*; charts that follow each other are side by side."""
        parts: list[Html] = []
        charts: list[Html] = []
        for block in blocks:
            if isinstance(block, Chart):
                charts.append(chart_figure(block))
                continue
            if charts:
                parts.append(element("div", *charts, class_="charts"))
                charts = []
            parts.append(self._block(block))
        if charts:
            parts.append(element("div", *charts, class_="charts"))
        return join(parts)

    def _block(self, block: Block) -> Html:
        match block:
            case Facts():
                return self._facts(block)
            case DataTable():
                return self._table(block)
            case Tree():
                return _section(block.title, _tree(block))
            case Text():
                return element("p", block.text)
            case Code():
                return _section(block.title, element("pre", block.text, tabindex=0))
            case Notice():
                return render_notice(block)
            case QueryForm():
                return self._query_form(block)
            case ActionForm():
                return self._action_form(block)
        return Html("")  # charts are rendered together, and a text replaces a form that would show a secret

    def _facts(self, block: Facts) -> Html:
        rows = [
            element("div", element("dt", label), element("dd", self._cell(value, block.units.get(label, Unit.NONE))))
            for label, value in block.facts.items()
        ]
        return _section(block.title, element("dl", *rows, class_="facts"))

    def _table(self, block: DataTable) -> Html:
        if not block.rows:
            return _section(block.title, element("p", block.empty, class_="empty"))
        numeric = [
            all(map(_is_number, cells)) and any(map(_is_present, cells)) for cells in zip(*block.rows, strict=True)
        ]
        head = [
            element("th", column.title, scope="col", class_="number" if number else None)
            for column, number in zip(block.columns, numeric, strict=True)
        ]
        rows = [element("tr", *map(self._table_cell, block.columns, row, numeric)) for row in block.rows]
        table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
        more = element("p", f"{block.more:,} more", class_="more") if block.more else None
        # A region that scrolls must be reachable by keyboard.
        region = element("div", table, class_="scroll", tabindex=0, role="region", aria_label=block.title or "table")
        return _section(block.title, join([region, more]))

    def _table_cell(self, column: Column, cell: Cell, number: bool) -> Html:
        classes = " ".join(name for name, on in (("number", number), ("code", column.code)) if on)
        value = _sort_value(cell)
        return element("td", self._cell(cell, column.unit), class_=classes or None, data_value=value)

    def _cell(self, cell: Cell, unit: Unit) -> Html | str:
        match cell:
            case None:
                return DASH
            case bool():
                return "yes" if cell else "no"
            case int() | float():
                return format_number(cell, unit)
            case Link():
                path = "" if cell.page == "index" else cell.page
                query = f"?{urlencode(cell.query)}" if cell.query else ""
                return element("a", cell.text, href=f"{self._base}{path}{query}")
            case Badge():
                return element("span", cell.text, class_=f"badge {cell.tone.value}")
            case ActionForm():
                return self._action_form(cell)
        return cell

    def _query_form(self, block: QueryForm) -> Html:
        fields = [
            self._labelled(
                label,
                element("input", name=name, value=block.values.get(name, ""), id=self._id(), maxlength=MAX_VALUE),
            )
            for name, label in block.fields.items()
        ]
        path = f"{self._base}{self._page.name}"
        return element("form", *fields, element("button", block.label), method="get", action=path, class_="query")

    def _action_form(self, block: ActionForm) -> Html:
        action = self._actions.get(block.action)
        if action is None or not self._csrf_token:
            return Html("")
        form = element(
            "form",
            _hidden({"csrf_token": self._csrf_token, **block.values}),
            [self._field(each) for each in action.fields if each.name not in block.values],
            element("span", action.confirm, class_="question") if action.confirm else None,
            element("button", block.label or action.label, class_="danger" if action.confirm else None),
            method="post",
            action=f"{self._base}{self._page.name}/{action.name}",
            class_="action",
        )
        return _with_question(action, block.label, form) if action.confirm else form

    def _field(self, field: FormField) -> Html:
        identifier = self._id()
        if field.choices:
            options = [element("option", choice, value=choice) for choice in field.choices]
            control = element("select", *options, name=field.name, id=identifier)
        else:
            control = element(
                "input",
                name=field.name,
                id=identifier,
                required=field.required,
                placeholder=field.placeholder or None,
                maxlength=MAX_VALUE,
                autocomplete="off",
            )
        return self._labelled(field.label, control)

    def _id(self) -> str:
        self._fields += 1
        return f"field-{self._fields}"

    def _labelled(self, label: str, control: Html) -> Html:
        # A label stays beside its field when the line is full.
        return element("span", element("label", label, for_=f"field-{self._fields}"), control, class_="field")


def _sort_value(cell: Cell) -> str | None:
    """Return the value by which the script sorts *cell*, empty without one, None where it is the text that is shown."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    return str(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else None


def _is_present(cell: Cell) -> bool:
    return cell is not None


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float | None) and not isinstance(cell, bool)


def render_notice(block: Notice) -> Html:
    """Return the markup of a notice."""
    remedy = element("p", block.remedy) if block.remedy else None
    return element("div", element("p", block.text), remedy, class_=f"notice {block.tone.value}", role="status")


def _with_question(action: PageAction, label: str, form: Html) -> Html:
    """Return *form* behind its label, so that one click does nothing, also without scripts."""
    return element("details", element("summary", label or action.label), form, class_="confirm")


def _hidden(values: Mapping[str, str]) -> list[Html]:
    return [element("input", type="hidden", name=name, value=value) for name, value in values.items()]


def _section(title: str, content: Html) -> Html:
    return element("section", element("h2", title) if title else None, content)


def _end(node: TreeNode) -> float:
    """Return when *node* and all nodes below it have ended: a message is processed after the request that sent it."""
    return max([node.offset + node.duration, *map(_end, node.children)])


def _tree(block: Tree) -> Html:
    total = max(map(_end, block.roots), default=0.0)
    shown = 0

    def item(node: TreeNode) -> Html | None:
        nonlocal shown
        shown += 1
        if shown > MAX_NODES:
            return None
        attributes = [
            element("div", element("dt", name), element("dd", str(value))) for name, value in node.attributes.items()
        ]
        line = [
            element("span", node.name, class_="name failed" if node.failed else "name"),
            element("span", format_number(node.duration, Unit.SECONDS), class_="duration"),
            time_bar(node, total),
        ]
        head = element("summary", *line) if attributes else element("div", *line, class_="leaf")
        body = element("details", head, element("dl", *attributes, class_="facts")) if attributes else head
        children = [item(child) for child in node.children]
        return element("li", body, element("ul", *children) if children else None)

    return element("ul", *map(item, block.roots), class_="tree")
