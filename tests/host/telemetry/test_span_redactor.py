"""Secrets are masked before texts are cut."""

from __future__ import annotations

from scalekit import Redactor, mask_passwords
from scalekit.telemetry import MAX_TEXT, SpanRedactor

REDACTOR = SpanRedactor(Redactor(["iban"], mask_passwords))
SECRET = "redis://user:s3cr3ts3cr3ts3cr3t@host/"


def test_a_text_is_not_cut_within_a_secret() -> None:
    for length in range(MAX_TEXT - len(SECRET), MAX_TEXT, 3):
        text = REDACTOR.text("x" * length + SECRET)
        assert len(text) <= MAX_TEXT
        assert "s3cr3t" not in text


def test_values_with_secret_names_are_masked() -> None:
    assert REDACTOR.value("customer.iban", 7) == "***"
    assert REDACTOR.value("pairs", [("x-api-key", "s3cr3t"), ("x", 1)]) == [["x-api-key", "***"], ["x", 1]]
    assert REDACTOR.value("tokens", 7) == 7
