from __future__ import annotations

from tests.cache.conftest import a_cluster, a_redis, a_shared_store, a_valkey, pytest_generate_tests, transport

__all__ = ["a_cluster", "a_redis", "a_shared_store", "a_valkey", "pytest_generate_tests", "transport"]
