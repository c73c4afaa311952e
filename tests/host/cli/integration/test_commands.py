from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scalekit_cache.cache_status import NotStored
from scalekit_cache.not_stored_reasons import EXPLANATIONS
from tests.host.cli.conftest import Run
from tests.service import install_plugin
from tests.test_layout import HOOKS

APP = '[app]\ntarget = "service:app"\n'
VISITS = APP + "[plugins.visits]\nlimit = 5\n"


def test_help_lists_the_commands_of_host_and_enabled_plugins(run: Run) -> None:
    words = run("--help", toml=VISITS).stdout.split()
    for command in ("run", "check", "plugins", "routes", "config", "schema", "get", "new", "visits"):
        assert command in words
    assert "visits" not in run("--help", toml=APP).stdout.split()
    assert "run" in run("--help", toml="[broken").stdout.split(), "a broken file does not hide the host's commands"


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout.startswith("scalekit, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["run", "--bogus"],
        ["get"],
        ["get", "nowhere"],
        ["get", "/\udcff"],
        *(["get", "/", "-H", header] for header in ("x", ": x", "x: €", "ü: x", "x: \udcff")),
    ],
)
def test_a_usage_error_exits_with_2(arguments: list[str], run: Run) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Error" in result.stderr


def test_check_reports_a_valid_file(run: Run) -> None:
    result = run("check", toml=VISITS)
    assert (result.returncode, result.stdout) == (0, "scalekit.toml: valid; 1 plugin\n")
    assert run("check", toml=APP).stdout == "scalekit.toml: valid; 0 plugins\n"


MISTAKES = """\
[app]
target = "service:ap"
[server]
port = "eight thousand"
drian_delay = "5s"
operator_token = "${NO_TOKEN}"
[plugins.visits]
limit = 0
[plugins.visit]
[sever]
"""


def test_check_reports_every_mistake_in_one_run_in_the_order_of_the_file(run: Run) -> None:
    result = run("check", toml=MISTAKES)
    assert result.returncode == 78
    assert result.stderr.splitlines() == [
        "error: scalekit.toml:2: app.target: module 'service' has no 'ap'; did you mean 'app'?",
        "error: scalekit.toml:4: server.port: should be a valid integer, got 'eight thousand'",
        "error: scalekit.toml:5: server.drian_delay: unknown key; did you mean 'drain_delay'?",
        "error: scalekit.toml:6: server.operator_token: environment variable NO_TOKEN is not set;"
        " set it, or write ${NO_TOKEN:-default}",
        "error: scalekit.toml:8: plugins.visits.limit: should be greater than or equal to 1, got 0 (plugin visits)",
        "error: scalekit.toml:9: plugins.visit: no such plugin is installed; did you mean 'visits'? (plugin visit)",
        "error: scalekit.toml:10: sever: unknown table; did you mean 'server'?",
        "7 mistakes in the configuration; not started",
    ]


def test_check_prints_json(run: Run) -> None:
    result = run("check", "--json", toml=MISTAKES)
    report = json.loads(result.stdout)
    assert result.returncode == 78
    assert (report["version"], report["status"], len(report["problems"])) == (1, "invalid", 7)
    assert report["problems"][4] == {
        "message": "should be greater than or equal to 1, got 0",
        "key": "plugins.visits.limit",
        "file": "scalekit.toml",
        "line": 8,
        "plugin": "visits",
    }


EXTERNAL = VISITS + '[health.external]\nshop = "http://user:hunter2@127.0.0.1:1/"\n'


def test_check_connect_checks_every_server(run: Run) -> None:
    result = run("check", "--connect", toml=EXTERNAL)
    assert result.returncode == 1
    assert "ok     visits.table" in result.stdout
    assert "failed external.shop" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr
    assert run("check", "--connect", toml=VISITS).returncode == 0


def test_check_connect_as_json(run: Run) -> None:
    result = run("check", "--connect", "--json", toml=EXTERNAL)
    report = json.loads(result.stdout)
    assert (result.returncode, report["status"]) == (1, "failed")
    assert [(each["name"], bool(each["error"])) for each in report["checks"]] == [
        ("visits.table", False),
        ("external.shop", True),
    ]


FAILING = """
from contextlib import asynccontextmanager
from scalekit import Lifespan, hookimpl

@asynccontextmanager
async def run():
    raise OSError("no route to host")
    yield

@hookimpl
def scalekit_lifespan(context):
    return Lifespan(run)
"""


def test_check_connect_reports_a_plugin_that_does_not_start(run: Run, tmp_path: Path) -> None:
    install_plugin(tmp_path, "failing", FAILING)
    toml = APP + "[plugins.failing]\n"
    message = "plugin 'failing' ([plugins.failing], scalekit.toml:3) did not start: OSError: no route to host"
    result = run("check", "--connect", toml=toml)
    assert (result.returncode, result.stderr) == (1, f"error: {message}\n")
    report = json.loads(run("check", "--connect", "--json", toml=toml).stdout)
    assert (report["status"], report["problems"]) == ("failed", [{"message": message}])
    assert run("check", toml=toml).returncode == 0, "without --connect nothing is started"


QUOTING = FAILING.replace('"no route to host"', '"redis://shop:hunter2@h:1 refuses the password hunter2"')


def test_secrets_in_errors_of_drivers_reach_neither_terminal_nor_log(run: Run, tmp_path: Path) -> None:
    install_plugin(tmp_path, "quoting", QUOTING)
    toml = APP + '[plugins.quoting]\n[health.external]\nshop = "http://shop:hunter2@127.0.0.1:1/"\n'
    for command in (["check", "--connect"], ["check", "--connect", "--json"], ["run"], ["get", "/"]):
        result = run(*command, "--set", "server.port=0", toml=toml)
        assert result.returncode == 1
        assert "redis://shop:***@h:1 refuses the password ***" in result.stdout + result.stderr
        assert "hunter2" not in result.stdout + result.stderr


IMPORTS = {
    "import os\nvalue = os.environ['NO_SUCH']\n": "KeyError: 'NO_SUCH' ({}/service.py:2)",
    "import json\njson.loads('x')\n": "JSONDecodeError: Expecting value: line 1 column 1 (char 0) ({}/service.py:2)",
    "def app():\n    return int('x')\n": "ValueError: invalid literal for int() with base 10: 'x' ({}/service.py:2)",
    "from starlette.routing import Nothing\n": "({}/service.py:1)",
    "app = (\n": "SyntaxError: '(' was never closed ({}/service.py:1)",
}


@pytest.mark.parametrize("source", IMPORTS)
def test_an_import_error_of_the_application_names_its_line(source: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(source)
    assert IMPORTS[source].format(tmp_path) in run("check").stderr


def test_an_unknown_key_suggests_the_closest_name(run: Run) -> None:
    assert "no 'ap'; did you mean 'app'?" in run("check", "--set", "app.target=service:ap").stderr
    assert (
        "no module 'servic' on the import path; did you mean 'service'?"
        in run("check", "--set", "app.target=servic:app").stderr
    )


@pytest.mark.parametrize("command", ["check", "run", "get /", "routes", "visits count bob"])
def test_a_traceback_is_printed_with_the_option(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import os\nos.environ['NO_SUCH'] # redis://u:hunter2@h\napp = None\n")
    install_plugin(tmp_path, "absent", "import nowhere\n")
    toml = VISITS + "[plugins.absent]\n"
    for words in ([*command.split(), "--traceback"], ["--traceback", *command.split()]):
        result = run(*words, toml=toml)
        assert result.returncode == 78
        assert "Traceback (most recent call last)" in result.stderr
        assert "No module named 'nowhere'" in result.stderr
        assert "hunter2" not in result.stderr
    assert "Traceback" not in run(*command.split(), toml=toml).stderr


def test_a_start_that_fails_has_a_traceback_too(run: Run, tmp_path: Path) -> None:
    install_plugin(tmp_path, "failing", FAILING)
    toml = APP + "[plugins.failing]\n[server]\nport = 0\n"
    for command in (["check", "--connect"], ["run"], ["get", "/"]):
        result = run(*command, "--traceback", toml=toml)
        assert result.returncode == 1
        assert 'module_failing.py", line 7, in run' in result.stderr
        assert "Traceback" not in run(*command, toml=toml).stderr


def test_plugins_are_listed_with_hooks_layers_and_start_order(run: Run) -> None:
    rows = [line.split() for line in run("plugins", toml=VISITS).stdout.splitlines()]
    assert rows[0] == ["plugin", "enabled", "package", "starts", "layers", "hooks"]
    (row,) = [row for row in rows if row[0] == "visits"]
    assert row[1:6] == ["yes", "scalekit-visits", "1.0", "1", "RESOURCES"]
    assert {name.rstrip(",") for name in row[6:]} == {name.removeprefix("scalekit_") for name in HOOKS}
    (row,) = [row for row in map(str.split, run("plugins", toml=APP).stdout.splitlines()) if row[0] == "visits"]
    assert row == ["visits", "no", "scalekit-visits", "1.0"]


ROUTED = """
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
inner = Mount("/api", routes=[Route("/data", print, methods=["POST"])])
app = Starlette(routes=[inner, WebSocketRoute("/ws", print)])
"""


def test_routes_are_listed_with_their_owners(run: Run, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(ROUTED)
    result = run("routes", toml=VISITS + '[server]\nmanagement_address = "127.0.0.1:9100"\n')
    rows = [line.split("  ") for line in result.stdout.splitlines()]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["path", "methods", "owner", "listener"],
        ["/health", "GET", "host", "127.0.0.1:9100"],
        ["/health/live", "GET", "host", "127.0.0.1:9100"],
        ["/health/ready", "GET", "host", "127.0.0.1:9100"],
        ["/-/visits", "GET, HEAD", "visits", "127.0.0.1:9100"],
        ["/visits/{name}", "GET, HEAD", "visits", "public"],
        ["/-/", "GET, HEAD", "host", "127.0.0.1:9100"],
        ["/-/memory", "GET, HEAD", "host", "127.0.0.1:9100"],
        ["/-/log-level", "GET, HEAD, POST", "host", "127.0.0.1:9100"],
        ["/api/data", "POST", "application", "public"],
        ["/ws", "WEBSOCKET", "application", "public"],
    ]


def test_an_application_without_a_list_of_routes_is_reported(run: Run) -> None:
    assert "the application does not list its routes" in run("routes").stdout


def test_config_shows_every_value_with_its_origin_and_no_secret(run: Run) -> None:
    toml = VISITS + 'salt = "hunter2"\n[server]\nhost = "${THE_HOST}"\n[health.external]\na = "http://u:hunter2@h/"\n'
    result = run("config", "show", "--set", "server.port=9000", toml=toml, THE_HOST="::1")
    lines = result.stdout.splitlines()
    assert 'app.target = "service:app"  # scalekit.toml:2' in lines
    assert 'server.host = "::1"  # scalekit.toml:7, environment THE_HOST' in lines
    assert "server.port = 9000  # --set" in lines
    assert 'server.drain_delay = "5s"  # default' in lines
    assert "plugins.visits.limit = 5  # scalekit.toml:4" in lines
    assert 'plugins.visits.salt = "***"  # scalekit.toml:5' in lines
    assert 'health.external.a.url = "http://u:***@h/"  # scalekit.toml:9' in lines
    assert "hunter2" not in result.stdout


def test_the_schema_includes_the_installed_plugins(run: Run) -> None:
    schema = json.loads(run("schema").stdout)
    assert "visits" in schema["properties"]["plugins"]["properties"]
    assert schema["$defs"]["VisitsConfig"]["properties"]["limit"]["description"] == "Maximum number of clients."


def test_get_sends_one_request(run: Run) -> None:
    result = run("get", "/hello?x=1", toml=VISITS)
    assert (result.returncode, result.stdout) == (0, "/hello 0\n")


def test_get_prints_status_and_headers_with_the_option(run: Run) -> None:
    result = run("get", "/hello", "-i", "-X", "post", "-d", "12345", "-H", "x-a: b", toml=VISITS)
    head, _, body = result.stdout.partition("\n\n")
    assert head.splitlines()[0] == "HTTP 200"
    assert "x-visits: 1" in head.splitlines()
    assert body == "/hello 5\n"


def test_get_sends_the_bytes_of_its_arguments(run: Run) -> None:
    result = run("get", "/hellö", "-d", "\udcff\udcfe", "-H", "x-a: ü", toml=VISITS)
    assert (result.returncode, result.stdout) == (0, "/hellö 2\n")


def test_get_exits_with_1_for_an_error_response(run: Run) -> None:
    assert run("get", "/health/ready", toml=APP).returncode == 0
    assert run("get", "/health", "-X", "DELETE", toml=APP).returncode == 1


def test_get_explains_the_time_spent_in_each_layer(run: Run) -> None:
    result = run("get", "/hello", "--explain", toml=VISITS)
    rows = [line.split() for line in result.stdout.splitlines()]
    layers = [row[:2] for row in rows if row and row[-1] == "µs"]
    assert layers == [
        ["pages", "host"],
        ["GUARD", "host"],
        ["RESOURCES", "visits"],
        ["routes", "plugins"],
        ["application", "application"],
    ]
    assert "200 in" in result.stdout


@pytest.mark.parametrize(
    ("table", "arguments", "sentence"),
    [
        ('ttl = "1h"', (), "stored the response"),
        ('ttl = "1h"', ("-H", "Cookie: a=b"), "not stored: cookie"),
        (
            "",
            (),
            "forwarded to the application: no response is stored for this URL (fwd=uri-miss); not stored: no-lifetime",
        ),
        ("", ("-H", "Cache-Control: no-store"), "forwarded to the application: the cache does not handle the request"),
    ],
)
def test_get_explains_cache_status(run: Run, table: str, arguments: tuple[str, ...], sentence: str) -> None:
    toml = f"{APP}[plugins.cache]\n[[plugins.cache.policies]]\npath = '/**'\n{table}\n"
    result = run("get", "/hello", "--explain", *arguments, toml=toml)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("scalekit: ")]
    assert sentence in line


SPANS = """
from scalekit.contracts import DATABASE
from scalekit.telemetry import span
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def item(request):
    with span("price", sku=7):
        await DATABASE(request).fetch_all("SELECT 1 AS one FROM sqlite_master WHERE name = 'secret'")
    return PlainTextResponse("", headers={"cache-control": "max-age=60"})

async def fault(request):
    with span("price"):
        raise ValueError("wrong")

app = Starlette(routes=[Route("/items/{id}", item), Route("/fault", fault)])
"""


def test_get_explains_the_spans_with_own_times_and_reasons(run: Run, tmp_path: Path) -> None:
    (tmp_path / "spans.py").write_text(SPANS)
    toml = '[app]\ntarget = "spans:app"\n[plugins.cache]\n[plugins.pool]\nurl = "sqlite:///spans.db"\n'
    printed = run("get", "/items/7", "--explain", "-H", "Cookie: a=b", toml=toml).stdout
    times = r" +\d+\.\d{3} ms  own +\d+\.\d{3} ms\n"
    parts = [
        rf"\nGET /items/7{times}",
        r"│  http.route=/items/{id} .*http.response.status_code=200",
        rf"│  \* cache: not stored [\w.]+={re.escape(EXPLANATIONS[NotStored.COOKIE])}\n",
        rf"└─ price{times}",
        r"   │  sku=7\n",
        rf"   └─ SELECT sqlite_master{times}",
        r"         db.system.name=sqlite  db.query.text=SELECT \? AS one FROM sqlite_master WHERE name = \?\n",
    ]
    assert re.search(".*".join(parts), printed, re.DOTALL)
    assert "secret" not in printed


def test_get_explains_a_request_that_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "spans.py").write_text(SPANS)
    result = run("get", "/fault", "--explain", toml='[app]\ntarget = "spans:app"\n')
    assert result.returncode == 1
    assert re.search(r"^GET /fault .* failed: ValueError\n.*└─ price .* failed: ValueError\n", result.stdout, re.DOTALL)
    assert "ValueError: wrong" in result.stderr
    assert run("get", "/fault", toml='[app]\ntarget = "spans:app"\n').stdout == ""


def test_a_layer_that_was_not_reached_is_not_in_the_explanation(run: Run) -> None:
    result = run("get", "/health/live", "--explain", toml=VISITS)
    assert "visits" not in result.stdout


def test_the_file_and_overrides_may_be_named_before_or_after_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(VISITS)
    for arguments in (
        ("-c", "other.toml", "--set", "plugins.visits.limit=7", "config", "show"),
        ("config", "show", "other.toml", "--set", "plugins.visits.limit=7"),
        ("config", "show", "-c", "other.toml", "--set", "plugins.visits.limit=7"),
        ("--set", "plugins.visits.limit=1", "config", "show", "other.toml", "--set", "plugins.visits.limit=7"),
    ):
        assert "plugins.visits.limit = 7  # --set" in run(*arguments).stdout
    assert "plugins.visits.limit = 5" in run("config", "show", SCALEKIT_CONFIG="other.toml").stdout


READING = [
    "check",
    "config show",
    "get /",
    "plugins",
    "routes",
    "run",
    "visits count bob",
    "queue list events",
]
FORMS = [
    "-c {file} {command}",
    "--config={file} {command}",
    "{command} -c {file}",
    "{command} {file}",
    "{command} -c{file}",
    "{command} --config={file}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", READING)
def test_every_command_accepts_the_file_in_every_form(command: str, form: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(APP + "[plugins.visits]\nlimit = 0\n")
    result = run(*form.format(file="other.toml", command=command).split(), toml=VISITS)
    assert result.returncode == 78
    assert "other.toml:4: plugins.visits.limit" in result.stderr


@pytest.mark.parametrize("form", FORMS)
def test_a_command_of_a_plugin_is_found_by_the_named_file(form: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(VISITS)
    assert run(*form.format(file="other.toml", command="visits count bob").split(), toml=APP).stdout == "1\n"
    result = run("visits", "count", "bob", "--set", "plugins.visits.limit=0", "other.toml", toml=APP)
    assert "--set: plugins.visits.limit" in result.stderr
    assert "visits" in run("--help", "-c", "other.toml").stdout.split()


def test_a_missing_file_is_reported(run: Run) -> None:
    for words in (["visits", "count", "bob", "missing.toml"], ["visits", "count", "bob", "-c", "missing.toml"]):
        result = run(*words, toml=VISITS)
        assert result.returncode != 0
        assert "missing.toml" in result.stderr or "No such command 'visits'" in result.stderr
    for command in ("check", "run", "get /", "routes", "config show"):
        result = run(*command.split(), "missing.toml", toml=VISITS)
        assert (result.returncode, "missing.toml: no such file" in result.stderr) == (78, True)


def test_the_value_of_an_option_is_not_taken_for_the_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[broken")
    command = ("nginx", "config", "-c", "scalekit.toml", "--output", "other.toml")
    assert run(*command, toml="[plugins.nginx]\n").returncode == 0
    assert "server {" in (tmp_path / "other.toml").read_text()


def test_plugins_add_commands(run: Run) -> None:
    assert run("visits", "count", "bob", toml=VISITS).stdout == "1\n"
    assert "Count one visit of NAME" in run("visits", "--help", toml=VISITS).stdout
    assert run("visits", "count", "bob", toml=APP).returncode == 2


def test_a_command_of_a_plugin_reports_an_invalid_file(run: Run) -> None:
    result = run("visits", "count", "bob", toml=VISITS + "limti = 1\n")
    assert result.returncode == 78
    assert "did you mean 'limit'?" in result.stderr


def test_output_is_coloured_on_a_terminal_and_plain_in_a_pipe(run: Run, tmp_path: Path) -> None:
    assert "\x1b[" not in run("plugins", toml=VISITS).stdout
    assert "\x1b[" in _on_a_terminal(tmp_path, "plugins")


def _on_a_terminal(folder: Path, *arguments: str) -> str:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "scalekit", *arguments]
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # the terminal's other end was closed
            pass
        process.wait(60)
    os.close(ours)
    return text.decode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chekc",), "No such command 'chekc'; did you mean 'check'?"),
        (
            ("cache", "purge"),
            "to enable the commands of the plugin 'cache', add the table [plugins.cache] to scalekit.toml",
        ),
        (("cache", "purge", "-c", "none.toml"), "need a file that enables it, and there is no file 'none.toml'"),
    ],
)
def test_an_unknown_command_suggests_the_closest_name(arguments: tuple[str, ...], says: str, run: Run) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert says in result.stderr


def test_plugins_of_a_missing_file_are_not_listed(run: Run) -> None:
    result = run("plugins", "-c", "none.toml")
    assert result.returncode == 78
    assert "none.toml: no such file" in result.stderr


def test_get_counts_as_a_single_process(run: Run) -> None:
    toml = '[app]\ntarget = "service:app"\n[plugins.ratelimit]\ndefault = "9/s"\n'
    result = run("get", "/", toml=toml)
    assert "several processes" not in result.stdout + result.stderr
