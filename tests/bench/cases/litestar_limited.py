"""Litestar with its own limit, in memory, which no client reaches."""

import litestar_bare
from litestar import Litestar
from litestar.middleware.rate_limit import RateLimitConfig

PATH = litestar_bare.PATH
BODY = litestar_bare.BODY


def make() -> Litestar:
    return Litestar([litestar_bare.data], middleware=[RateLimitConfig(rate_limit=("second", 1_000_000)).middleware])


app = make()
