"""Corrections of the theme's HTML."""

from __future__ import annotations

from tests.documentation.accessibility import correct

PAGE = (
    '<aside class="sidebar-drawer"><p class="caption" role="heading">Use</p></aside>'
    '<div class="table-wrapper"></div><div class="table-wrapper"></div><pre>code</pre>'
)


def test_headings_landmarks_and_scrolling_regions_are_corrected() -> None:
    assert correct(PAGE) == (
        '<aside class="sidebar-drawer" aria-label="Pages">'
        '<p class="caption" role="heading" aria-level="2">Use</p></aside>'
        '<div tabindex="0" role="region" aria-label="Table 1" class="table-wrapper"></div>'
        '<div tabindex="0" role="region" aria-label="Table 2" class="table-wrapper"></div><pre tabindex="0">code</pre>'
    )


def test_a_corrected_page_does_not_change() -> None:
    assert correct(correct(PAGE)) == correct(PAGE)
