"""PyYAML reads the value that was written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scalekit.deploy import VerbatimText, to_yaml
from scalekit.deploy.yaml_writer import EnclosedText

WORDS = ("yes", "NO", "on", "null", "~", "1", "1.5", "0x1F", "1e3", ".inf", "2026-11-30", "12:30:45", "=", "<<", "y")
SIGNS = ("-", "a: b", "a #b", "#", "!x", "&a", "*a", "{a}", "[a]", "%a", "@a", "`a`", "'a'", '"a"', "a:b", "a:", "- a")
LINES = ("a\nb", "a\nb\n", "a\n\nb", " a\nb", "a\n b\n", "a \nb", "\n", "", " ", "a\n\n", "\ta\nb", "\x85", "|\n")
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([*WORDS, *SIGNS, *LINES])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_reader_gets_the_value_that_was_written(value: Any) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize("text", [*WORDS, *SIGNS, *LINES])
def test_a_text_stays_itself_as_value_key_and_element(text: str) -> None:
    value = {"value": text, "list": [text, {"inner": text}], text: 1}
    assert yaml.safe_load(to_yaml(value)) == value


def test_a_text_of_several_lines_is_a_literal_block() -> None:
    assert to_yaml({"file": "[app]\nname = 1\n\n[b]\n"}) == "file: |\n  [app]\n  name = 1\n\n  [b]\n"


def test_tables_in_lists_begin_beside_the_dash() -> None:
    assert to_yaml({"ports": [{"name": "web", "port": 80}, ["a"]]}) == (
        "ports:\n  - name: web\n    port: 80\n  - - a\n"
    )


def test_several_documents_are_separated() -> None:
    assert list(yaml.safe_load_all(to_yaml({"a": 1}, {"b": 2}))) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("text", ["postgres:17", "/data", "app.kubernetes.io/name", "a b", "10001:10001"])
def test_usual_texts_have_quotes_only_where_they_begin_with_a_digit(text: str) -> None:
    assert to_yaml(text) == (f'"{text}"\n' if text[0].isdigit() else f"{text}\n")


def test_a_verbatim_text_is_written_as_it_is() -> None:
    assert to_yaml({"replicas": VerbatimText("{{ .Values.replicas }}")}) == "replicas: {{ .Values.replicas }}\n"


def test_an_enclosed_text_has_its_lines_around_it_with_its_key() -> None:
    text = EnclosedText("{{ .Values.a }}", "{{- if .Values.a }}", "{{- end }}")
    assert to_yaml({"spec": {"a": text, "b": 1}}) == (
        "spec:\n{{- if .Values.a }}\n  a: {{ .Values.a }}\n{{- end }}\n  b: 1\n"
    )
