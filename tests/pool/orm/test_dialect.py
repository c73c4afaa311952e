"""The dialects belong to the pool."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

import scalekit_pool.orm.engine

assert scalekit_pool.orm.engine  # registers the dialects


@pytest.mark.parametrize("url", ["postgresql+scalekit://user:secret@host/db", "sqlite+scalekit:///file.db"])
def test_an_engine_by_its_url_alone_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError, match=r"use SESSION\(request\), or database\.sessions\(\)") as refused:
        create_async_engine(url)
    assert "secret" not in str(refused.value)
