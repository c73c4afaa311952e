"""Every public name is documented, and the page of the documentation is that of the code."""

from __future__ import annotations

import importlib

import pytest

from tests.api_reference import PACKAGES, PAGE, public_names, reference


def test_the_page_is_generated_from_the_docstrings() -> None:
    assert PAGE.read_text() == reference(), "run python -m tests.api_reference"


def test_the_handbook_links_to_the_page() -> None:
    assert "(../docs/api.md)" in (PAGE.parent.parent / "plugins" / "README.md").read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in public_names(package) if not hasattr(module, name)] == []
