"""The session store in a database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.jwt.harness import service
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]


@pytest.mark.parametrize("plugins", ["postgres"], indirect=True)
async def test_existing_tables_need_no_privilege_to_create_them(plugins: Mapping[str, Any], postgres: Postgres) -> None:
    async with service(plugins=plugins):
        pass
    postgres.sql("CREATE ROLE writer LOGIN")
    try:
        postgres.sql("GRANT USAGE ON SCHEMA public TO writer; GRANT ALL ON ALL TABLES IN SCHEMA public TO writer")
        pool = {"url": postgres.url.replace("postgres@", "writer@")}
        async with service(plugins={"pool": pool}) as client:
            assert (await client.login("ada")).status == 200
            assert (await client.logout()).status == 204
    finally:
        postgres.sql("DROP OWNED BY writer; DROP ROLE writer")
