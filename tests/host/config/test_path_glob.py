"""Path patterns, compared with a simple reference matcher."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalekit import PathGlob
from scalekit.config.path_glob import path_variants


def segment_matches(pattern: str, segment: str) -> bool:
    if not pattern:
        return not segment
    if pattern[0] == "*":
        return any(segment_matches(pattern[1:], segment[skip:]) for skip in range(len(segment) + 1))
    return bool(segment) and segment[0] == pattern[0] and segment_matches(pattern[1:], segment[1:])


def segments_match(patterns: list[str], segments: list[str]) -> bool:
    if not patterns:
        return not segments
    if patterns[0] == "**":
        return any(segments_match(patterns[1:], segments[skip:]) for skip in range(len(segments) + 1))
    return bool(segments) and segment_matches(patterns[0], segments[0]) and segments_match(patterns[1:], segments[1:])


def reference(pattern: str, path: str) -> bool:
    patterns = [each for each in pattern.split("/") if each]
    whole = path.split("/")[1:]
    trimmed = whole if whole[-1] else whole[:-1]
    return segments_match(patterns, whole) or segments_match(patterns, trimmed)


SEGMENTS = st.text(alphabet="ab*", max_size=4).map(lambda text: text.replace("**", "*").replace("**", "*"))
GLOBS = st.lists(st.just("**") | SEGMENTS.filter(bool), max_size=5).map(lambda each: "/" + "/".join(each))
PATHS = st.lists(st.text(alphabet="ab\n.", max_size=4), max_size=6).map(lambda each: "/" + "/".join(each))


@given(GLOBS, PATHS)
@example("/api/**", "/api")
@example("/api/**", "/api/")
@example("/api/*", "/api/")
@example("/**/b/**/b", "/b")
@example("/**/a*b/**/b", "/ab/ab/a/b")
@example("/a*ab", "/aab")
@example("/", "/")
@example("/*", "/")
@example("/**", "//")
def test_it_agrees_with_the_reference(glob: str, path: str) -> None:
    assert bool(PathGlob(glob).matches(path)) == reference(glob, path)


@pytest.mark.parametrize(
    ("glob", "good", "bad"),
    [
        ("/api", ["/api", "/api/"], ["/apix", "/API", "/api/x", "/", "/x/api", "//api"]),
        ("/api/", ["/api", "/api/"], ["/api/x"]),
        ("/api/*", ["/api/x", "/api/", "/api/x/"], ["/api", "/api/x/y"]),
        ("/api/**", ["/api", "/api/", "/api/x", "/api/x/y", "/api/\n"], ["/apix", "/ap", "/x/api"]),
        ("/**", ["/", "", "*", "/a", "//a\n"], []),
        ("/", ["/"], ["/a"]),
        ("/*.js", ["/a.js", "/.js"], ["/a/b.js", "/a.jsx"]),
        ("/**/*.js", ["/a.js", "/a/b.js", "/a/b/c.js"], ["/a.jsx", "/a.js/x"]),
        ("/shops/*/items", ["/shops/7/items"], ["/shops/7/8/items", "/shops/items"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/100%25/%2A/%5Bx%5D", ["/100%/*/[x]"], ["/100%25/a/x"]),
        ("/caf%C3%A9", ["/café"], ["/caf"]),
    ],
)
def test_these_match_and_those_do_not(glob: str, good: list[str], bad: list[str]) -> None:
    matches = PathGlob(glob).matches
    assert [path for path in good if not matches(path)] == []
    assert [path for path in bad if matches(path)] == []


@pytest.mark.parametrize(
    ("glob", "remedy"),
    [
        ("api", "put a slash before it: '/api'"),
        ("", "put a slash before it"),
        ("*", "put a slash before it: '/\\*'"),
        (7, "got 7"),
        ("/a?b=1", "leave the query out"),
        ("/a?", "leave the query out"),
        ("/a#b", "leave it out"),
        ("/[ab]", "write \\* for any characters"),
        ("/{id}", "write \\* for a parameter"),
        ("/a***", "write \\* or \\*\\*"),
        ("/a/***/b", "write \\* or \\*\\*"),
        ("/a**b", "a segment of its own"),
        ("/a**", "a segment of its own"),
        ("/**.css", "a segment of its own"),
        ("//a", "has a doubled slash"),
        ("/a//", "has a doubled slash"),
        ("/a/../b", "has a dot segment"),
        ("/./a", "has a dot segment"),
        ("/a%2fb", "write the decoded path"),
        ("/a/%2e%2e/b", "write the decoded path"),
        ("/100%", "write %25"),
        ("/a\\b", "write a slash"),
        ("/a\nb", "has a control character"),
    ],
)
def test_other_texts_are_refused_with_the_remedy(glob: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        PathGlob(glob)


TIDIED = (
    *("//a/b", "/a//b", "/./a/b", "/x/../a/b", "/a%2fb", "/a/%2e/b", "/x/%2e%2e/a/b", "/%2561/b", "\\a\\b", "/a;v=1/b"),
    *("/a/b\n", "/a /b\t", "/a/b\x00", "/a/b%0a", "/a/b;x\n"),
)


@pytest.mark.parametrize("path", TIDIED)
def test_a_path_that_a_framework_may_normalize_has_two_variants(path: str) -> None:
    assert path_variants(path) == (path, "/a/b")


@given(PATHS)
def test_a_normalized_path_has_one_variant(path: str) -> None:
    assert len(path_variants(path_variants(path)[-1])) == 1


def test_a_hostile_path_takes_at_most_quadratic_time() -> None:
    glob = PathGlob("/**/*a*a*a*a*b/**/*a*a*a*a*b/**/*a*a*a*b")
    assert not glob.matches("/" + "a" * 2000)
    assert not glob.matches("/a" * 1000 + "/" + "a" * 1000)
