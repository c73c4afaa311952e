"""The init process of a container: it reaps orphans and forwards signals, as tini and dumb-init do.

The kernel gives every orphan of a container to the first process. Without a ``wait`` they stay as zombies, each of
which holds a process id. The service itself cannot wait for all children: it would take the exit status of those of its
libraries. So it runs in a child.
"""

from __future__ import annotations

import os
import signal

PID = 1
"""The process id of the first process of a container."""
_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
FORWARDED = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
FROM_TERMINAL = 0x80
"""``si_code`` SI_KERNEL of signals that a terminal sends to all processes in its foreground, the service included."""


def is_init_process() -> bool:
    """Return whether this process is the first one of its container or machine."""
    return os.getpid() == PID


def fork_service() -> int | None:
    """Fork: the child is the service, this process stays as its init process. Call it before threads exist.

    Returns None in the service. In the init process returns the exit status of the service when that has ended; it is
    128 and the number of the signal that killed it, as in shells.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*FORWARDED, signal.SIGCHLD])
    service = os.fork()
    if service == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        received = signal.sigwaitinfo([*FORWARDED, signal.SIGCHLD])
        if received.si_signo == signal.SIGCHLD:
            status = _reap(service)
            if status is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                return status
        elif received.si_code != FROM_TERMINAL:
            os.kill(service, received.si_signo)  # not reaped yet, so its process id is not reused


def _reap(service: int) -> int | None:
    """Reap all children that have ended; return the exit status of *service* if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == service:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code
