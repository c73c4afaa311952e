from __future__ import annotations

import io
import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import structlog

from scalekit import ConfigError, create_app
from scalekit.contracts import LOG_LEVEL_OVERRIDES, Override, OverrideChange
from scalekit.log_level.overrides import LevelOverrides
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application
from tests.logging.log_capture import Line, logging_app, logging_host, read

NAMES = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "shop", "shop.noisy")


def logging_state() -> dict[str, Any]:
    """Return the logging configuration of the process."""
    loggers = {}
    for name in NAMES:
        each = logging.getLogger(name)
        handlers = {handler for handler in each.handlers if not type(handler).__module__.startswith("_pytest")}
        loggers[name] = (each.level, handlers, each.propagate)
    return {**loggers, "structlog": structlog.get_config() if structlog.is_configured() else None}


def events(path: Path) -> list[Any]:
    return [line["event"] for line in read(path) if line["logger"] not in ("scalekit", "asyncio")]


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    logging.getLogger("uvicorn.access").propagate = True  # a server of an earlier test may have turned it off
    before = logging_state()
    yield
    assert logging_state() == before


@contextmanager
def console_handlers() -> Iterator[None]:
    """Add console handlers as ``basicConfig`` and uvicorn do."""
    loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.access")]
    handlers = [logging.StreamHandler(sys.stderr) for _ in loggers]
    before = [logger.propagate for logger in loggers]
    for logger, handler in zip(loggers, handlers, strict=True):
        logger.addHandler(handler)
        logger.propagate = not logger.name.startswith("uvicorn")
    yield
    for logger, handler, propagate in zip(loggers, handlers, before, strict=True):
        logger.removeHandler(handler)
        logger.propagate = propagate


@pytest.mark.anyio
async def test_console_handlers_are_replaced_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stays = logging.StreamHandler(io.StringIO())
    with console_handlers():
        logging.getLogger().addHandler(stays)
        before = logging_state()
        async with logging_app(bare_application, tmp_path):
            for name in ("shop", "uvicorn.error", "uvicorn.access"):
                logging.getLogger(name).error("by %s", name)
        assert logging_state() == before
        logging.getLogger().removeHandler(stays)
    assert events(tmp_path / "combined.log") == ["by shop", "by uvicorn.error"]  # access lines replace uvicorn.access
    assert "by shop" not in capsys.readouterr().err
    assert "by shop" in stays.stream.getvalue()


@contextmanager
def queue_handler() -> Iterator[logging.Logger]:
    """Yield a logger that writes to the console through a queue, like Litestar's."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue()
    handler: Any = QueueHandler(lines)
    handler.listener = QueueListener(lines, logging.StreamHandler(sys.stderr))
    logger = logging.getLogger("framework")
    logger.addHandler(handler)
    logger.propagate = False
    handler.listener.start()
    yield logger
    handler.listener.stop()
    logger.removeHandler(handler)
    logger.propagate = True


@pytest.mark.anyio
async def test_queue_handlers_of_frameworks_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with queue_handler() as logger:
        async with logging_app(bare_application, tmp_path):
            logger.error("by the framework")
        assert not logger.propagate
    assert events(tmp_path / "combined.log") == ["by the framework"]
    assert "by the framework" not in capsys.readouterr().err


@pytest.mark.anyio
async def test_the_configuration_of_structlog_is_restored(tmp_path: Path) -> None:
    structlog.reset_defaults()
    async with logging_app(bare_application, tmp_path):
        assert structlog.is_configured()
    assert not structlog.is_configured()
    with structlog.testing.capture_logs() as captured:
        structlog.configure(cache_logger_on_first_use=False)
        before = structlog.get_config()
        async with logging_app(bare_application, tmp_path):
            assert structlog.get_config() != before
        assert structlog.get_config() == before
        structlog.get_logger().info("captured again")
    assert [each["event"] for each in captured] == ["captured again"]
    structlog.reset_defaults()


@pytest.mark.anyio
async def test_without_access_lines_those_of_uvicorn_are_logged(tmp_path: Path) -> None:
    async with logging_app(bare_application, tmp_path, access=False):
        logging.getLogger("uvicorn.access").info("uvicorn request")
    assert events(tmp_path / "combined.log") == ["uvicorn request"]


@pytest.mark.anyio
async def test_events_go_to_the_application_that_was_started_last(tmp_path: Path) -> None:
    log = structlog.get_logger("shop")
    one, other = (logging_host(bare_application, tmp_path / name) for name in ("one", "other"))
    async with running(one) as first:
        log.info("before")
        async with running(other) as second:
            log.info("during")
            await request(one, "/one", state=first)
            await request(other, "/other", state=second)
        log.info("after")
    assert events(tmp_path / "one" / "combined.log") == ["before", "request", "after"]
    assert events(tmp_path / "other" / "combined.log") == ["during", "request"]


@pytest.mark.anyio
async def test_applications_may_stop_in_any_order(tmp_path: Path) -> None:
    log = logging.getLogger("shop")
    one, other = (running(logging_host(bare_application, tmp_path / name)) for name in ("one", "other"))
    await one.__aenter__()
    await other.__aenter__()
    await one.__aexit__(None, None, None)
    log.error("late")
    await other.__aexit__(None, None, None)
    assert events(tmp_path / "other" / "combined.log")[-1:] == ["late"]


@pytest.mark.anyio
async def test_a_cached_logger_uses_the_level_of_the_next_application(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = structlog.get_logger()
    for name, level in (("one", "INFO"), ("two", "DEBUG"), ("three", "ERROR")):
        async with logging_app(bare_application, tmp_path / name, level=level):
            log.debug("fine")
            log.info("usual")
            log.error("bad")
    assert events(tmp_path / "one" / "combined.log") == ["usual", "bad"]
    assert events(tmp_path / "two" / "combined.log") == ["fine", "usual", "bad"]
    assert events(tmp_path / "three" / "combined.log") == ["bad"]
    caplog.clear()
    log.warning("afterwards", order=7)
    assert [(each.name, each.getMessage()) for each in caplog.records] == [(__name__, "afterwards order=7")]


@pytest.mark.anyio
async def test_levels_by_logger_apply_to_children_in_both_libraries(tmp_path: Path) -> None:
    levels = {"shop": "WARNING", "shop.noisy.deep": "DEBUG"}
    async with logging_app(bare_application, tmp_path, levels=levels):
        for get in (logging.getLogger, structlog.get_logger):
            for name in ("other", "shop", "shop.noisy", "shop.noisy.deep.er"):
                get(name).debug(f"debug {name}")
                get(name).info(f"info {name}")
                get(name).warning(f"warning {name}")
    one = ["info other", "warning other", "warning shop", "warning shop.noisy"]
    one += [f"{level} shop.noisy.deep.er" for level in ("debug", "info", "warning")]
    assert events(tmp_path / "combined.log") == one * 2


@pytest.mark.anyio
async def test_features_of_structlog_work(tmp_path: Path) -> None:
    log = structlog.get_logger("shop", order=7)
    async with logging_app(bare_application, tmp_path):
        with structlog.testing.capture_logs() as captured:
            log.info("captured")
        log.info("interpolated %d", 7)
        log.bind(item=1).warning("bound", exc_info=None)
        try:
            raise LookupError("token=abc")
        except LookupError as error:
            log.exception("current")
            log.error("explicit", exc_info=error)
            logging.getLogger("shop").exception("stdlib")
        log.info("stack", stack_info=True)
        log.log(logging.CRITICAL, "number")
        await log.ainfo("async")
    assert [each["event"] for each in captured] == ["captured"]
    lines: dict[str, Line] = {line["event"]: line for line in read(tmp_path / "combined.log")}
    assert lines["interpolated 7"]["order"] == 7
    assert lines["bound"]["item"] == 1
    for event in ("current", "explicit", "stdlib"):
        assert lines[event]["exception"].endswith("LookupError: token=***")
        assert "test_setup.py" in lines[event]["exception"]
    assert "test_setup.py" in lines["stack"]["stack"]
    assert lines["number"]["level"] == "critical"
    assert lines["async"]["logger"] == "shop"


@pytest.mark.anyio
async def test_unprintable_records_are_logged_with_a_placeholder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RecursionError

    log = logging.getLogger("shop")
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: False)  # pytest's handlers cannot print them
    async with logging_app(bare_application, tmp_path):
        log.info("%d things", "no number")
        log.info("%s", Broken())
        log.info(Broken(), extra={"a": Broken()})
        log.info("level", extra={"level": "mine"})
    for handler in logging.getLogger().handlers:
        handler.filters.clear()
    assert events(tmp_path / "combined.log") == ["%d things", "%s", "<unprintable Broken object>", "level"]
    assert capsys.readouterr().err == ""


@pytest.mark.anyio
async def test_a_directory_that_is_not_writable_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        async with logging_app(bare_application, tmp_path / "file" / "logs"):
            pass
    assert "logging.directory" in str(caught.value)
    assert "(plugin logging)" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"level": "LOUD"}, "level"),
        ({"levels": {"shop": "loud"}}, "levels"),
        ({"fields": {"level": "x"}}, "'level' is a reserved field of every line; rename it"),
        ({"console": "colour"}, "console"),
        ({"directory": ""}, "directory"),
        ({"max_size": "1KiB"}, "max_size"),
        ({"buffer_size": "1KiB"}, "buffer_size"),
        ({"redact": ["x"]}, "redact"),
        ({"tail": {"lines": 0}}, "lines"),
        ({"levle": "INFO"}, "levle"),
    ],
)
def test_invalid_values_are_reported_with_their_key(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app({"plugins": {"logging": table}}, app=bare_application)


@pytest.mark.anyio
async def test_an_override_changes_loggers_of_both_libraries_and_its_end_restores_them(tmp_path: Path) -> None:
    def log_all(event: str) -> None:
        for name in ("shop", "noisy", "noisy.part"):
            logging.getLogger(name).debug("std %s %s", event, name)
            structlog.get_logger(name).debug(f"structlog {event} {name}")

    async with logging_app(bare_application, tmp_path, levels={"noisy": "warning"}) as (host, _):
        overrides = host.context.get(LOG_LEVEL_OVERRIDES)
        assert isinstance(overrides, LevelOverrides)
        end = monotonic() + 3600
        log_all("0")
        await overrides.group.change(OverrideChange("", Override("debug", end)))
        log_all("1")
        await overrides.group.change(OverrideChange("noisy.part", Override("debug", end)))
        log_all("2")
        await overrides.group.change(OverrideChange(None, None))
        log_all("3")
    found = [event for event in events(tmp_path / "combined.log") if event.startswith(("std", "structlog"))]
    shop = [f"{library} {event} shop" for event in "12" for library in ("std", "structlog")]
    assert found == [*shop, "std 2 noisy.part", "structlog 2 noisy.part"]


@pytest.mark.anyio
async def test_an_override_decides_which_requests_have_an_access_line(tmp_path: Path) -> None:
    async with logging_app(bare_application, tmp_path, level="error") as (host, state):
        overrides = host.context.get(LOG_LEVEL_OVERRIDES)
        assert isinstance(overrides, LevelOverrides)
        await request(host, "/0", state=state)
        await overrides.group.change(OverrideChange("scalekit.access", Override("info", monotonic() + 3600)))
        await request(host, "/1", state=state)
        await overrides.group.change(OverrideChange(None, None))
        await request(host, "/2", state=state)
    assert [line["path"] for line in read(tmp_path / "combined.log") if line["event"] == "request"] == ["/1"]
