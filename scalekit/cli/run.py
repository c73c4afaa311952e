"""``scalekit run``: serve the application."""

from __future__ import annotations

import faulthandler
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from scalekit.cli.source import TRACEBACK, FileSource, config_options, file_argument
from scalekit.cli.trace_printer import TracePrinter
from scalekit.config.password_mask import mask_passwords
from scalekit.config.text_redaction import Redactor
from scalekit.runner.init_process import fork_service, is_init_process
from scalekit.runner.memory.gc_control import freeze_imports, gc_paused
from scalekit.telemetry.span_redactor import SpanRedactor
from scalekit.terminal import print_traceback

if TYPE_CHECKING:
    from scalekit.host import Host
    from scalekit.settings import Settings

TRACE = "scalekit.trace"
"""Key of the context of click with the value of ``--trace``."""
FORMAT = "%(asctime)s [%(process)d] %(levelname)-7s %(message)s"


@click.command()
@file_argument
@click.option(
    "--only",
    metavar="PLUGIN",
    multiple=True,
    help="Run only this plugin and those that it requires, without serving requests; repeatable.",
)
@click.option("--reload", is_flag=True, help="Start again when code or configuration changes, for development.")
@click.option("--trace", type=click.Choice(["console"]), help="Print the spans of each request, for development.")
@click.option("--worker", hidden=True, help="Arguments of a worker, set by the supervisor.")
@click.option("--fork-server", hidden=True, help="Arguments of a fork server, set by the supervisor.")
@config_options
@click.pass_context
def run(
    ctx: click.Context,
    source: FileSource,
    only: tuple[str, ...],
    reload: bool,
    trace: str | None,
    worker: str | None,
    fork_server: str | None,
) -> None:
    """Serve the application of FILE until SIGTERM or Ctrl-C; SIGHUP replaces all workers."""
    if is_init_process() and (status := fork_service()) is not None:
        ctx.exit(status)
    formatter = _set_up_logging()
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    if only:
        source = replace(source, overrides=(*source.overrides, "server.role=worker"), only=only)
    ctx.meta[TRACE] = trace
    if worker is not None:
        ctx.exit(_run_worker(ctx, source, formatter, worker))
    if fork_server is not None:
        ctx.exit(_run_forked_worker(ctx, source, formatter, fork_server))
    if reload:
        from scalekit.cli.reload import run_with_reload

        ctx.exit(run_with_reload(source.file, _arguments(ctx, source)))
    ctx.exit(_serve(ctx, source, formatter))


class MaskingFormatter(logging.Formatter):
    """Formats log records with passwords in URLs masked and, after the file is read, all secrets."""

    redact: Callable[[str], str] = staticmethod(mask_passwords)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        return self.redact(super().format(record))


def _set_up_logging() -> MaskingFormatter:
    formatter = MaskingFormatter(FORMAT)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return formatter


def _build_host(ctx: click.Context, source: FileSource, formatter: MaskingFormatter) -> Host:
    with gc_paused():
        host = source.host()
    freeze_imports(host.settings.server.memory)
    formatter.redact = host.context.redact
    _print_traces(ctx, source, host)
    return host


def _print_traces(ctx: click.Context, source: FileSource, host: Host) -> None:
    """Print the spans of each request when the command line says so."""
    if ctx.meta.get(TRACE):
        redactor = SpanRedactor(Redactor(redact_configured=host.context.redact))
        host.report_spans(TracePrinter(source.file, redactor))


def _serve(ctx: click.Context, source: FileSource, formatter: MaskingFormatter) -> int:
    with gc_paused():
        settings = source.settings()
    if settings.server.workers is not None:
        if sys.platform == "win32":
            raise click.UsageError("server.workers needs Linux or macOS; remove it, and start several services instead")
        return _supervise(ctx, source, settings)
    host = _build_host(ctx, source, formatter)
    from scalekit.runner.server.server_process import serve

    status = serve(host)
    _print_start_failure(ctx, host)
    return status


def _print_start_failure(ctx: click.Context, host: Host) -> None:
    failure = host.lifecycle.start_failure
    if failure is not None and ctx.meta.get(TRACEBACK):
        print_traceback(failure)


def _supervise(ctx: click.Context, source: FileSource, settings: Settings) -> int:
    from scalekit.runner.server.listeners import listen, log_lines, startup_lines
    from scalekit.runner.workers.supervisor import supervise

    listeners = listen(settings.server)
    command = ["-m", "scalekit", "run", *_arguments(ctx, source)]
    return supervise(settings.server, command, listeners, partial(log_lines, startup_lines(settings, listeners)))


def _arguments(ctx: click.Context, source: FileSource) -> list[str]:
    """Return the arguments with which a process of its own serves *source*."""
    overrides = [part for override in source.overrides for part in ("--set", override)]
    only = [part for name in source.only for part in ("--only", name)]
    tracebacks = ["--traceback"] if ctx.meta.get(TRACEBACK) else []
    traces = ["--trace", ctx.meta[TRACE]] if ctx.meta.get(TRACE) else []
    return ["--config", source.file, *overrides, *only, *tracebacks, *traces]


def _run_worker(ctx: click.Context, source: FileSource, formatter: MaskingFormatter, text: str) -> int:
    from scalekit.runner.workers.worker import run_worker
    from scalekit.runner.workers.worker_args import WorkerArgs

    args = WorkerArgs.read(text)
    faulthandler.enable(args.stacks)  # writes the stacks of a worker that hangs, on SIGABRT
    host = _build_host(ctx, source, formatter)
    status = run_worker(host, args)
    _print_start_failure(ctx, host)
    return status


def _run_forked_worker(ctx: click.Context, source: FileSource, formatter: MaskingFormatter, text: str) -> int:
    """Import all modules that workers need, then fork workers; return in each worker with its exit status."""
    from scalekit.runner.workers.fork_server import ForkServer
    from scalekit.runner.workers.worker_args import WorkerArgs

    args = WorkerArgs.read(text)
    faulthandler.enable(args.stacks)
    server = ForkServer(args)
    from scalekit.app import build
    from scalekit.runner.server.server_process import import_server
    from scalekit.runner.workers.worker import run_worker

    template = source.host()  # building a host imports all modules; never freed, since that would unshare pages
    formatter.redact = template.context.redact
    import_server(template)
    args = server.serve_forks(template.settings.server.memory.gc_freeze)
    host = build(template.settings, template.target)
    formatter.redact = host.context.redact
    _print_traces(ctx, source, host)
    status = run_worker(host, args)
    _print_start_failure(ctx, host)
    return status
