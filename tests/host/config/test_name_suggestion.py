from __future__ import annotations

from scalekit.config.name_suggestion import did_you_mean, suggest_name


def test_the_closest_name_is_suggested() -> None:
    assert suggest_name("drian", ["drain", "port"]) == "did you mean 'drain'?"
    assert suggest_name("x", ["b", "a"]) == "known: a, b"
    assert suggest_name("x", []) == "there are none"


def test_did_you_mean_ends_a_message() -> None:
    assert did_you_mean("ap", ["app", "_app"]) == "; did you mean 'app'?"
    assert did_you_mean("ap", ["_app"]) == ""
