"""Path globs match the same paths in every plugin."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from scalekit import ConfigError, PathGlob, create_app
from scalekit.config.path_glob import path_variants
from scalekit.testing import request, running
from scalekit_cache.policies import NO_POLICY, CachePolicies, CachePolicy
from scalekit_caching.tags import path_tag, path_tags
from scalekit_jwt.policy import AccessPolicy
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.policies import build_policies as limits
from tests.host.config.test_path_glob import GLOBS, PATHS

SECRET = "a secret for tests that is long enough"
GLOB_KEYS: list[tuple[str, Any]] = [
    ("plugins.jwt.protected_paths[0]", lambda glob: {"jwt": {"secret": SECRET, "protected_paths": [glob]}}),
    ("plugins.jwt.public_paths[0]", lambda glob: {"jwt": {"secret": SECRET, "public_paths": [glob]}}),
    ("plugins.jwt.rules[0].path", lambda glob: {"jwt": {"secret": SECRET, "rules": [{"path": glob}]}}),
    ("plugins.ratelimit.policies[0].path", lambda glob: {"ratelimit": {"policies": [limited(glob)]}}),
    ("plugins.cache.policies[0].path", lambda glob: {"cache": {"policies": [{"path": glob}]}}),
    *(
        (f"plugins.idempotency.{key}[0]", lambda glob, key=key: {"idempotency": {key: [glob]}})
        for key in ("paths", "exclude", "required_paths")
    ),
]


def limited(glob: str) -> dict[str, Any]:
    return {"name": "a", "path": glob, "limit": "1/h"}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@given(GLOBS, PATHS)
def test_policies_and_rules_match_the_same_paths(glob: str, path: str) -> None:
    matches = bool(PathGlob(glob).matches(path))
    policies = CachePolicies([(glob, CachePolicy(ttl=1.0))])
    assert (policies.for_path(path, b"/plain") is not NO_POLICY) == matches
    if matches:  # and perhaps as another spelling too
        assert AccessPolicy([glob], [], []).requirements["GET", path] is not None
        assert (
            limits(RateLimitConfig.model_validate({"policies": (limited(glob),)})).before_authentication[path, "GET"]
            is not None
        )
        if len(path_variants(path)) == 1:
            assert AccessPolicy(["/**"], [glob], []).requirements["GET", path] is None


@given(GLOBS.filter(lambda glob: "*" not in glob.rpartition("/")[0]), PATHS)
def test_a_purge_matches_the_same_paths(glob: str, path: str) -> None:
    if glob.rpartition("/")[2] in ("*", "**") or "*" not in glob:
        assert (path_tag(glob) in path_tags(path)) == bool(PathGlob(glob).matches(path))


@pytest.mark.parametrize("glob", ["/items*", "/a/*/b", "/**/b", "/*/x", "/a/**/*"])
def test_a_purge_without_a_path_tag_is_rejected_with_the_remedy(glob: str) -> None:
    with pytest.raises(ValueError, match=r"a wildcard must be the last segment.*a common tag"):
        path_tag(glob)


@pytest.mark.parametrize(("key", "table"), GLOB_KEYS, ids=[key for key, _ in GLOB_KEYS])
@pytest.mark.parametrize("glob", ["api", "/a?b", "/[ab]", "/{a}", "/a**b", "/***", "/a//b"])
def test_every_key_rejects_an_invalid_glob(key: str, table: Any, glob: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_app({"plugins": table(glob)}, app=app)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert glob in problem.message


@pytest.mark.parametrize("key", ["protected_paths", "public_paths", "keys"])
def test_a_string_in_place_of_a_list_gets_the_remedy(key: str) -> None:
    with pytest.raises(ConfigError, match=r'should be a list; write \["(/api|\*\*\*)"\]'):
        create_app({"plugins": {"jwt": {"secret": SECRET, key: "/api"}}}, app=app)


@pytest.mark.anyio
async def test_root_path_is_not_part_of_the_matched_path() -> None:
    plugins = {
        "jwt": {"secret": SECRET, "protected_paths": ["/api/**"]},
        "ratelimit": {"policies": [{"name": "a", "path": "/open", "limit": "1/h"}]},
    }
    host = create_app({"plugins": plugins}, app=app)

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await host({**scope, "root_path": "/shop"}, receive, send)

    async with running(host) as state:
        assert (await request(behind, "/shop/api/x", state=state)).status == 401
        assert [(await request(behind, "/shop/open", state=state)).status for _ in range(2)] == [200, 429]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "target", ["//login", "/login/", "/./login", "/%6cogin", "/x/../login", "/x/%2e%2e/login", "/login%0A"]
)
async def test_all_variants_of_a_limited_path_share_one_count(target: str) -> None:
    host = create_app({"plugins": {"ratelimit": {"policies": [limited("/login")]}}}, app=app)
    async with running(host) as state:
        assert [(await request(host, each, state=state)).status for each in ("/login", target)] == [200, 429]


@pytest.mark.parametrize(
    ("protected_paths", "warned"),
    [(["/api/*"], True), (["/api/**"], False), (["/api/*", "/**"], False), (["/*.js"], False), (["/a/*/b"], False)],
)
def test_a_protected_glob_that_excludes_deeper_paths_is_logged(
    protected_paths: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "scalekit.jwt"):
        create_app({"plugins": {"jwt": {"secret": SECRET, "protected_paths": protected_paths}}}, app=app)
    assert ('write "/api/**" to protect all below' in caplog.text) is warned


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["/admin", "/admin%0A", "/admin/7/keys", "/admin/7/keys%0a", "/admin/7/keys/", "//admin"]
)
async def test_no_variant_of_a_path_bypasses_protection(path: str) -> None:
    async def secret(request: Request) -> PlainTextResponse:
        return PlainTextResponse("secret")

    target = Starlette(routes=[Route("/admin", secret), Route("/admin/{number:int}/keys", secret)])
    host = create_app(
        {"plugins": {"jwt": {"secret": SECRET, "protected_paths": ["/admin", "/admin/*/keys"]}}}, app=target
    )
    async with running(host) as state:
        assert (await request(host, path, state=state)).status == 401
