"""The init process reaps orphans, forwards signals and has the exit status of the service.

The tests make it a child subreaper (prctl(2)), which gets the orphans of its descendants as the first process does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.service import ROOT

START = """
import ctypes, os, signal, sys, time
from scalekit.runner.init_process import fork_service
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
status = fork_service()
if status is not None:
    sys.exit(status)
"""
ORPHANS = """
def children(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append((int(pid), fields[0]))
    return sorted(found)

init = os.getppid()
for number in range(20):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            while os.getppid() != init:
                time.sleep(0.001)
        os._exit(0)
    os.waitpid(child, 0)
while [pid for pid, state in children(init)] != [os.getpid()]:
    time.sleep(0.001)
print("reaped")
"""
WAITING = """
signals = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while (received := signal.sigwait(signals)) != signal.SIGTERM:
    print(received.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def start(service: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START + service],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("status", [0, 1, 78])
def test_the_exit_status_is_that_of_the_service(status: int) -> None:
    process = start(f"os._exit({status})")
    process.communicate(timeout=60)
    assert process.returncode == status


def test_orphans_are_reaped_while_the_service_runs() -> None:
    output, errors = start(ORPHANS).communicate(timeout=60)
    assert (output, errors) == ("reaped\n", "")


def test_the_service_reaps_its_own_children() -> None:
    service = "import subprocess\nprint(subprocess.run(['sh', '-c', 'exit 7']).returncode)"
    assert start(service).communicate(timeout=60)[0] == "7\n"


def test_signals_are_forwarded_and_a_kill_is_reported_as_by_a_shell() -> None:
    process = start(WAITING)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for each in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
        process.send_signal(each)
        assert process.stdout.readline() == f"{each.name}\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 128 + signal.SIGKILL


def test_a_signal_that_a_terminal_has_not_sent_is_forwarded_with_a_terminal_too() -> None:
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", START + WAITING], cwd=ROOT, stdin=terminal, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "SIGINT\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)
