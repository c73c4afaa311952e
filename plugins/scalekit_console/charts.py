"""Charts and time lines as SVG, without styles and scripts in the markup."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scalekit.pages import Chart, Series, TreeNode, Unit
from scalekit_console.elements import Html, element
from scalekit_console.formats import format_number

WIDTH, HEIGHT = 600, 120
BAR_WIDTH, BAR_HEIGHT = 1000, 10
MAX_POINTS = 180
"""Points of a line; several points of a longer one become their maximum."""
MAX_SERIES = 12


def chart_figure(chart: Chart) -> Html:
    """Return *chart* with its title, lines, legend and the latest values."""
    shown = [Series(each.name, _shorten(each.points)) for each in chart.series[:MAX_SERIES]]
    highest = max((point for each in shown for point in each.points if point is not None), default=0.0)
    top = highest or 1.0
    span = format_number(chart.interval * max((len(each.points) for each in chart.series), default=0), Unit.SECONDS)
    lines = [_line(each, top, number) for number, each in enumerate(shown)]
    label = f"{chart.title}: the last {span}, at most {format_number(highest, chart.unit)}"
    return element(
        "figure",
        element("figcaption", chart.title, element("span", f"max {format_number(highest, chart.unit)}", class_="max")),
        element(
            "svg",
            *lines,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=label,
        ),
        element("ul", *(_legend(each, chart.unit, number) for number, each in enumerate(shown)), class_="legend"),
        class_="chart",
    )


def _shorten(points: Sequence[float | None]) -> list[float | None]:
    """Return at most MAX_POINTS points, with gaps in place of those that cannot be drawn."""
    points = [point if point is not None and math.isfinite(point) else None for point in points]
    size = -(-len(points) // MAX_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [max((point for point in group if point is not None), default=None) for group in groups]


def _line(series: Series, top: float, number: int) -> list[Html]:
    """Return a line for each run of points without gaps; the newest point is at the right edge."""
    step = WIDTH / max(1, MAX_POINTS - 1)
    start = WIDTH - step * (len(series.points) - 1)
    runs: list[list[str]] = [[]]
    for place, point in enumerate(series.points):
        if point is None:
            runs.append([])
        else:
            runs[-1].append(f"{start + step * place:.1f},{(HEIGHT - 2) * (1 - point / top) + 1:.1f}")
    return [
        element("polyline", points=" ".join(run if len(run) > 1 else run * 2), class_=f"line s{number % 6}")
        for run in runs
        if run
    ]


def _legend(series: Series, unit: Unit, number: int) -> Html:
    latest = series.points[-1] if series.points else None
    value = element("b", format_number(latest, unit))
    return element("li", element("i", class_=f"swatch s{number % 6}", aria_hidden="true"), f"{series.name} ", value)


def time_bar(node: TreeNode, total: float) -> Html:
    """Return the bar of *node* on a time line of *total* seconds."""
    begin = min(1.0, max(0.0, node.offset / total)) if total > 0 else 0.0
    share = min(1.0 - begin, max(0.0, node.duration / total)) if total > 0 else 0.0
    bar = element(
        "rect",
        x=f"{begin * BAR_WIDTH:.1f}",
        y=0,
        width=f"{max(2.0, share * BAR_WIDTH):.1f}",
        height=BAR_HEIGHT,
        class_="failed" if node.failed else "bar",
    )
    return element("svg", bar, viewBox=f"0 0 {BAR_WIDTH} {BAR_HEIGHT}", preserveAspectRatio="none", aria_hidden="true")
