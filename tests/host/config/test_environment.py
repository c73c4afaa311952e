from __future__ import annotations

import pytest

from scalekit.config.environment import substitute

ENVIRONMENT = {"NAME": "world", "EMPTY": "", "NUMBER": "5", "BYTES": "\udcff\udcfe"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("hello ${NAME}!", "hello world!"),
        ("${NAME}${NUMBER}", "world5"),
        ("${UNSET:-there}", "there"),
        ("${EMPTY:-there}", "there"),
        ("${EMPTY}", ""),
        ("${UNSET:-}", ""),
        ("${NAME:-unused}", "world"),
        ("$NAME and $$ stay", "$NAME and $$ stay"),
        ("$${NAME}", "${NAME}"),
        ("${UNSET:-sqlite:///a b?c=d}", "sqlite:///a b?c=d"),
    ],
)
def test_references_are_replaced(text: str, filled: str) -> None:
    result = substitute(text, ENVIRONMENT)
    assert (result.text, result.mistakes) == (filled, ())


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("${UNSET}", "environment variable UNSET is not set; set it, or write ${UNSET:-default}"),
        ("${BYTES:-there}", "environment variable BYTES is not UTF-8; set it to text"),
        ("${1X}", "without a valid reference"),
        ("${NAME", "without a valid reference"),
        ("${}", "or $${ for a literal ${"),
        ("${A:-${B}}", "without a valid reference"),
    ],
)
def test_an_invalid_reference_is_explained(text: str, mistake: str) -> None:
    assert mistake in " ".join(substitute(text, ENVIRONMENT).mistakes)


@pytest.mark.parametrize(
    ("text", "whole"),
    [("${NUMBER}", True), ("${UNSET:-5}", True), (" ${NUMBER}", False), ("5", False), ("$${X}", False)],
)
def test_only_a_lone_reference_may_be_a_number(text: str, whole: bool) -> None:
    assert substitute(text, ENVIRONMENT).is_one_reference is whole


def test_only_variables_that_were_used_are_named() -> None:
    assert substitute("${NAME} ${UNSET:-x} ${EMPTY:-y}", ENVIRONMENT).names == ("NAME",)
