"""The host's own pages of the console."""

from __future__ import annotations

from collections.abc import Callable

from scalekit.context import Context
from scalekit.csrf_warning import csrf_warnings
from scalekit.health.monitor import Monitor
from scalekit.host import Host
from scalekit.host_pages.configuration import configuration_page
from scalekit.host_pages.health import health_page
from scalekit.host_pages.log_level import log_level_page
from scalekit.host_pages.memory import memory_page
from scalekit.host_pages.plugins import plugins_page
from scalekit.host_pages.tasks import tasks_page
from scalekit.log_level.overrides import LEVEL_OVERRIDES
from scalekit.pages.page import ConsolePage
from scalekit.recorded_warnings import RecordedWarnings
from scalekit.runner.memory.history import MEMORY_HISTORY, MemoryHistory
from scalekit.runner.workers.worker_queries import WORKER_QUERIES
from scalekit.settings import Settings


def host_pages(
    settings: Settings, context: Context, monitor: Monitor, warnings: RecordedWarnings, find_host: Callable[[], Host]
) -> list[ConsolePage]:
    """Return the pages of the application that *find_host* returns once it is built."""
    return [
        health_page(monitor),
        configuration_page(settings, context, warnings, lambda: csrf_warnings(context, find_host().target)),
        plugins_page(find_host),
        memory_page(context.get(WORKER_QUERIES), settings.server.memory, context.shared(MEMORY_HISTORY, MemoryHistory)),
        tasks_page(),
        log_level_page(context.get(LEVEL_OVERRIDES)),
    ]
