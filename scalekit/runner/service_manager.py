"""Report the state of the service to systemd (sd_notify(3)), or to another manager with the same protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

logger = logging.getLogger("scalekit")

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
MIN_INTERVAL = 0.01
"""Seconds between two reports of the watchdog, at least."""
MAX_DIGITS = 19
"""Digits of an interval in microseconds; a longer one never ends."""
MAX_STATUS = 200
"""Characters of a status."""


class ServiceManager:
    """The manager that started this process; without one every method does nothing.

    The variables are removed from the environment, so that child processes do not report.
    """

    def __init__(self) -> None:
        address, interval, pid = (os.environ.pop(name, "") for name in VARIABLES)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        is_watched = interval.isdecimal() and len(interval) < MAX_DIGITS and pid in ("", str(os.getpid()))
        usec = int(interval) if is_watched else 0
        self._watchdog_interval = max(MIN_INTERVAL, usec / 2e6) if usec else 0.0

    @property
    def exists(self) -> bool:
        """Whether a manager expects reports."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Report that the service serves, after a start or a reload."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Report that a reload begins; :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", "reloading")

    def stopping(self) -> None:
        """Report that the service drains."""
        self._send("STOPPING=1", "draining")

    async def keep_alive(self, is_alive: Callable[[], bool]) -> None:
        """Report twice in each watchdog interval that the service is alive, while *is_alive*."""
        while self._watchdog_interval:
            if is_alive():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_interval)

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        message = f"{state}\nSTATUS={status[:MAX_STATUS]}" if status else state
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.setblocking(False)
                manager.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            logger.warning("the service manager does not receive %s: %s", state.partition("\n")[0], error)
