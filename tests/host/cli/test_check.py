"""`scalekit check` and `scalekit run` report the same mistakes with the same status."""

from __future__ import annotations

import json
import re
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.host.cli.conftest import Run
from tests.processes import HOST
from tests.service import install_plugin

ENDING = f"""
import os
from contextlib import asynccontextmanager
from scalekit import Lifespan, hookimpl

@asynccontextmanager
async def run():
    yield

async def end():
    os.kill(os.getpid(), {signal.SIGTERM.value})

@hookimpl
def scalekit_lifespan(context):
    return Lifespan(run, ready=end)
"""
"""A plugin that exits the process after the start."""
ROUTED = """
from starlette.routing import Route
from scalekit import hookimpl

@hookimpl
def scalekit_routes(context):
    return [Route("/taken", print)]
"""
HTTP = """
async def app(scope, receive, send):
    {}
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b""}})
"""
STARLETTE = """
import logging
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
{}
"""
NO_REDIS = """
import sys
for name in ("opening", "wire", "calls", "handshake", "connector", "node"):
    sys.modules.pop(f"scalekit_redis.{name}", None)
sys.modules["hiredis"] = None
async def app(scope, receive, send):
    raise NotImplementedError
"""
DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
urlpatterns = []
from django.core.asgi import get_asgi_application
app = get_asgi_application()
"""
LITESTAR = "from litestar import Litestar\napp = Litestar([])\n"
JWT = '[plugins.jwt]\nsecret = "0123456789012345678901234567890123456789"\n'
WORKERS = "[server]\nworkers = 4\n"


@dataclass(frozen=True)
class Case:
    """The rest of a file, the module of ``[app] target``, and the expected message of both commands."""

    source: str = HTTP.format("assert scope['type'] == 'http'")
    toml: str = ""
    target: str = "served:app"
    says: tuple[str, ...] = ()
    status: int = 0
    plugins: dict[str, str] = field(default_factory=dict)


def invalid(*says: str, toml: str = "", source: str = "", **more: object) -> Case:
    case = Case(toml=toml, says=says, status=78, **more)  # type: ignore[arg-type]
    return Case(source or case.source, toml, case.target, says, 78, case.plugins)


def broken(source: str, *says: str) -> Case:
    return Case(source, says=("the application did not start: ", *says), status=1)


CASES = {
    "a callable that asserts it": Case(),
    "a callable that reads the path": Case(HTTP.format("scope['path']")),
    "a callable that looks the type up": Case(HTTP.format("{'http': 1}[scope['type']]")),
    "a callable that refuses": Case(HTTP.format("if scope['type'] != 'http': raise RuntimeError('only http')")),
    "a callable that is not written for it": Case(
        HTTP.format("if scope['type'] != 'http': raise NotImplementedError()")
    ),
    "a callable that returns": Case(HTTP.format("if scope['type'] != 'http': return")),
    "a callable that asserts its message": Case(HTTP.format("assert (await receive())['type'] == 'http.request'")),
    "a callable that responds to every scope": Case(HTTP.format("pass")),
    "Starlette": Case(STARLETTE.format("app = Starlette()")),
    "Django": Case(DJANGO),
    "Litestar": Case(LITESTAR),
    "a certificate that does not exist": invalid(
        "server.tls: cert_file: cannot read 'shop.pem': No such file or directory",
        toml='[server]\ntls = { cert_file = "shop.pem" }',
    ),
    "middleware with a wrong option": broken(
        STARLETTE.format("app = Starlette(middleware=[Middleware(CORSMiddleware, allow_orgins=['*'])])"),
        "TypeError",
        "allow_orgins",
    ),
    "middleware without an option": broken(
        STARLETTE.format("app = Starlette(middleware=[Middleware(TrustedHostMiddleware, hosts=[])])"),
        "TypeError",
        "hosts",
    ),
    "middleware that is none": broken(
        STARLETTE.format("app = Starlette(middleware=[Middleware(lambda app: None)])"), "TypeError", "NoneType"
    ),
    "middleware that fails as it is made": broken(
        STARLETTE.format(
            "class Broken:\n    def __init__(self, app):\n        assert app is None\n"
            "app = Starlette(middleware=[Middleware(Broken)])"
        ),
        "AssertionError",
    ),
    "middleware that fails at any scope": broken(HTTP.format("scope['app'].state"), "KeyError: 'app'", "served.py:3"),
    "middleware that misses a variable": broken(
        "import os\n" + HTTP.format("os.environ['NO_SUCH']"), "KeyError: 'NO_SUCH'", "served.py:4"
    ),
    "no application": Case(
        toml="", target="", says=('is required; write [app] target = "module.path:name"',), status=78
    ),
    "a wrong module": invalid("there is no module 'nowhere'", target="nowhere:app"),
    "a wrong attribute": invalid("module 'served' has no 'ap'", target="served:ap"),
    "an import that fails": invalid("did not load: KeyError: 'NO_SUCH'", source="import os\nos.environ['NO_SUCH']\n"),
    "an unknown key": invalid("server.prot: unknown key; did you mean 'port'?", toml="[server]\nprot = 1\n"),
    "an unknown plugin": invalid("plugins.metric: no such plugin is installed", toml="[plugins.metric]\n"),
    "two routes at one path": Case(
        toml="[plugins.routed]\n[plugins.routing]\n",
        says=("both 'routed' and 'routing' have a route /taken",),
        status=1,
        plugins={"routed": ROUTED, "routing": ROUTED},
    ),
    "a service that only Consul registers": invalid(
        'service is registered in Consul only; write source = "consul"', toml='[plugins.discovery]\nservice = "shop"\n'
    ),
    "certificates that are not there": invalid(
        "ca_file: no such file: /no/ca.pem", toml='[plugins.queue]\nurl = "amqps://h"\ntls = {ca_file = "/no/ca.pem"}\n'
    ),
    "certificates that are none": invalid(
        "TLS to the broker: cannot load served.py",
        toml='[plugins.queue]\nurl = "amqps://h"\ntls = {ca_file = "served.py"}\n',
    ),
    "certificates of Redis that are not there": invalid(
        "ssl_ca_certs: /no/ca.pem does not exist",
        toml='[plugins.cache]\nurl = "rediss://h?ssl_ca_certs=/no/ca.pem"\n',
    ),
    "wrong URLs of Sentinels and sessions in a cluster": invalid(
        "plugins.cache.url: expected the name of the master after the Sentinels",
        "plugins.ratelimit.url: unsupported store 'redis+sentinel://:***@h/m'; write redis-sentinel://",
        "plugins.jwt.redis_url: a cluster cannot store sessions, got 'redis-cluster://h'; write redis:// or redis-sent",
        toml='[plugins.cache]\nurl = "redis-sentinel://h1,h2"\n'
        '[plugins.ratelimit]\nurl = "redis+sentinel://:hush@h/m"\n'
        f'{JWT}session_store = "redis"\nredis_url = "redis-cluster://h"\n',
    ),
    "certificates of PostgreSQL that are none": invalid(
        "sslrootcert: cannot load served.py",
        toml='[plugins.pool]\nurl = "postgresql://h/x"\nsslmode = "verify-full"\nsslrootcert = "served.py"\n',
    ),
    "sessions in the memory of four workers": invalid("4 workers cannot share sessions in memory", toml=WORKERS + JWT),
    "sessions in a database that is not on": invalid(
        'session_store = "database" needs [plugins.pool]', toml=JWT + 'session_store = "database"\n'
    ),
    "a key that is none": invalid("served.py: ", toml='[plugins.jwt]\nkeys = ["served.py"]\nalgorithm = "RS256"\n'),
    "a cache in the memory of four workers": invalid("there are 4 workers", toml=WORKERS + "[plugins.cache]\n"),
    "two mistakes that show beside other tables": invalid(
        "4 workers cannot share sessions in memory", "there are 4 workers", toml=WORKERS + "[plugins.cache]\n" + JWT
    ),
    "a plugin that needs another": invalid("turn on [plugins.pool]", toml="[plugins.replica]\n"),
    "no package for Redis": invalid(
        "redis",
        "pip install 'scalekit-asgi[cache]'",
        "pip install 'scalekit-asgi[ratelimit]'",
        "pip install 'scalekit-asgi[jwt]'",
        "pip install 'scalekit-asgi[cluster-cache]'",
        toml='[plugins.cache]\nurl = "redis://127.0.0.1:1"\n[plugins.ratelimit]\nurl = "redis://127.0.0.1:1"\n'
        '[plugins.cluster-cache]\nnodes = ["127.0.0.1:1"]\n'
        f'{JWT}session_store = "redis"\nredis_url = "redis://127.0.0.1:1"\n',
        source=NO_REDIS,
    ),
    "a folder of logs that cannot be": invalid(
        "logging.directory: cannot write to 'served.py/logs'", toml='[plugins.logging]\ndirectory = "served.py/logs"\n'
    ),
    "a server of names that is none": invalid(
        "nameserver", toml='[plugins.discovery]\nsource = "dns"\ndomain = "x"\nnameserver = "localhost:53"\n'
    ),
}


def messages(text: str) -> list[str]:
    """Return the error messages in *text*, the output or log of a command."""
    said = re.findall(r"^(?:error: |\S+ \S+ \[\d+\] ERROR +)(.*)", text, re.MULTILINE)
    return [each for each in said if not each.startswith(("Application startup failed", "worker 1 ", "fork server "))]


@pytest.mark.parametrize("name", CASES)
def test_check_and_run_report_the_same(name: str, run: Run, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "served.py").write_text(case.source)
    for plugin, source in {"ending": ENDING, **case.plugins}.items():
        install_plugin(tmp_path, plugin, source)
    target = f'[app]\ntarget = "{case.target}"\n' if case.target else ""
    toml = f"{target}[plugins.ending]\n{case.toml}"
    options = ["--set", "server.port=0", "--set", "server.drain_delay=0s"]
    checked = run("check", *options, toml=toml)
    report = json.loads(run("check", "--json", *options).stdout)
    served = run("run", *options)
    said = messages(checked.stderr)
    assert (checked.returncode, served.returncode) == (case.status, case.status), checked.stderr + served.stderr
    assert set(said) == set(messages(served.stderr))
    assert len(report["problems"]) == len(said)
    for words in case.says:
        assert words in " ".join(said)
    assert bool(said) is bool(case.status)


def test_run_alone_needs_a_port(run: Run) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert run("check", "--set", f"server.port={port}").returncode == 0
        refused = run("run", "--set", f"server.port={port}")
    assert refused.returncode == 1
    assert f"cannot listen on {HOST}:{port}" in refused.stderr


FAILING = """
from contextlib import asynccontextmanager
from scalekit import Lifespan, hookimpl
from scalekit.contracts import DATABASE, DATABASES

@asynccontextmanager
async def run():
    raise OSError("{}")
    yield

@hookimpl
def scalekit_lifespan(context):
    return Lifespan(run, {})
"""
DEAD = """\
[app]
target = "service:app"
[plugins.pool]
url = "postgresql://u:hunter2@127.0.0.1:1/x"
[plugins.queue]
url = "amqp://u:hunter2@127.0.0.1:2/"
[plugins.cache]
url = "redis://:hunter2@127.0.0.1:3"
[plugins.discovery]
source = "consul"
consul = "http://127.0.0.1:4"
"""


def test_every_unavailable_server_is_named_with_its_address(run: Run) -> None:
    result = run("check", "--connect", toml=DEAD)
    said = result.stdout + result.stderr
    for plugin, port in (("pool", 1), ("queue", 2), ("cache", 3), ("discovery", 4)):
        lines = [line for line in said.splitlines() if f"127.0.0.1:{port}" in line]
        assert lines, f"nothing is said of {plugin}: {said}"
        assert all(plugin in line for line in lines), lines
    assert result.returncode == 1
    assert "hunter2" not in said


def test_plugins_that_require_a_failed_one_are_skipped_and_the_others_start(run: Run, tmp_path: Path) -> None:
    install_plugin(tmp_path, "afailing", FAILING.format("disk full", "provides=(DATABASE, DATABASES)"))
    install_plugin(tmp_path, "other", FAILING.format("no licence", ""))
    toml = '[app]\ntarget = "service:app"\n[plugins.afailing]\n[plugins.other]\n[plugins.replica]\n[plugins.cache]\n'
    result = run("check", "--connect", toml=toml)
    said = messages(result.stderr)
    assert [each.rpartition(": ")[2] for each in said] == ["disk full", "no licence"]
    assert "skipped replica: a plugin that it requires did not start" in result.stdout
    assert messages(run("run", "--set", "server.port=0").stderr)[0] in said
    assert result.returncode == 1


def test_connect_starts_the_application_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        STARLETTE.format(
            "@asynccontextmanager\nasync def lifespan(app):\n    raise OSError('no licence')\n    yield\n"
            "app = Starlette(lifespan=lifespan)"
        )
    )
    assert run("check").returncode == 0
    result = run("check", "--connect")
    assert result.returncode == 1
    assert "the application did not start: " in result.stderr
    assert "no licence" in result.stderr


DJANGO = """
from django.conf import settings
from django.core.asgi import get_asgi_application

settings.configure(SECRET_KEY="s", ROOT_URLCONF=__name__, MIDDLEWARE=[{}], LOGGING_CONFIG=None)
urlpatterns = []
app = get_asgi_application()
"""
DJANGO_SESSIONS = '"django.contrib.sessions.middleware.SessionMiddleware"'
DJANGO_CSRF = '"django.middleware.csrf.CsrfViewMiddleware"'


def test_check_warns_about_cookies_without_csrf_protection_and_succeeds(run: Run, tmp_path: Path) -> None:
    jwt = f'[app]\ntarget = "service:app"\n[plugins.jwt]\nsecret = "{32 * "s"}"\n'
    result = run("check", toml=jwt)
    lines = result.stdout.splitlines()
    assert (result.returncode, lines[0]) == (0, "scalekit.toml: valid; 1 plugin")
    assert lines[1].startswith("warning: logins that pages of other sites send replace the cookie of plugins.jwt.fing")
    assert lines[1].endswith("set csrf_protection = true in [plugins.headers]")
    assert len(lines) == 2
    report = json.loads(run("check", "--json").stdout)
    assert (report["status"], report["warnings"]) == ("ok", [lines[1].removeprefix("warning: ")])
    assert "warning" not in run("check", toml=jwt + "[plugins.headers]\ncsrf_protection = true\n").stdout
    assert "warning" not in run("check", "--set", "server.role=worker", toml=jwt).stdout
    (tmp_path / "service.py").write_text(DJANGO.format(DJANGO_SESSIONS))
    application = '[app]\ntarget = "service:app"\n'
    assert "warning: pages of other sites can send requests in the session" in run("check", toml=application).stdout
    (tmp_path / "service.py").write_text(DJANGO.format(f"{DJANGO_SESSIONS}, {DJANGO_CSRF}"))
    assert "warning" not in run("check", toml=application).stdout
