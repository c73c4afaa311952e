"""Every module is imported on macOS and Windows too, where some modules and functions of Python do not exist.

One process imports all modules under Linux, then hides what the other platforms lack and imports ScaleKit's once more.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

SOURCE = '''
import asyncio, enum, importlib, os, pkgutil, select, signal, socket, sys
from importlib.metadata import entry_points

LINUX_ONLY = {
    os: ("pidfd_open", "P_PIDFD", "sched_getaffinity", "O_TMPFILE", "memfd_create", "eventfd"),
    select: ("epoll",),
    signal: ("pidfd_send_signal", "SIGPWR", "SIGSTKFLT"),
    socket: ("MSG_NOSIGNAL", "MSG_CMSG_CLOEXEC", "SOCK_SEQPACKET", "TCP_INFO", "SO_PEERCRED", "SOCK_CLOEXEC"),
}
POSIX_ONLY = {
    os: (
        "fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "getpgrp", "getpgid", "setsid", "killpg",
        "waitid", "WNOHANG", "WEXITED", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "pread", "pwrite",
        "statvfs", "uname", "getloadavg", "sysconf", "chown", "fchmod", "mkfifo", "tcgetpgrp", "sendfile",
    ),
    select: ("poll", "PIPE_BUF", "POLLIN", "POLLOUT"),
    signal: (
        "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM", "SIGQUIT", "SIGCONT", "SIGSTOP", "SIGTSTP",
        "SIGPIPE", "pthread_sigmask", "setitimer", "alarm", "SIG_BLOCK", "SIG_SETMASK", "sigwait",
    ),
    socket: ("AF_UNIX", "send_fds", "recv_fds", "SCM_RIGHTS", "SO_REUSEPORT", "CMSG_LEN"),
}
POSIX_MODULES = ("fcntl", "termios", "resource", "pwd", "grp", "pty", "tty", "syslog", "posix", "uvloop")
PLATFORMS = {"darwin": ([LINUX_ONLY], ()), "win32": ([LINUX_ONLY, POSIX_ONLY], POSIX_MODULES)}
loop = asyncio.new_event_loop()  # that of Linux needs what is hidden
RUNS_WHEN_IMPORTED = (".__main__", ".asgi")


def names():
    """Yield the names of all modules."""
    libraries = ["scalekit_caching", "scalekit_redis"]
    plugins = [point.module.partition(".")[0] for point in entry_points(group="scalekit")]
    for root in ("scalekit", *libraries, *(name for name in plugins if name.startswith("scalekit_"))):
        yield root
        package = importlib.import_module(root)
        for module in pkgutil.walk_packages(package.__path__, f"{root}."):
            if not module.name.endswith(RUNS_WHEN_IMPORTED):
                yield module.name


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0].partition("_")[0] == "scalekit"]:
        del sys.modules[name]


def become(platform):
    hidden, modules = PLATFORMS[platform]
    for attributes in hidden:
        for module, names in attributes.items():
            for name in names:
                if hasattr(module, name):
                    delattr(module, name)
    signals = [name for attributes in hidden for name in attributes[signal] if name in signal.Signals.__members__]
    members = {each.name: each.value for each in signal.Signals if each.name not in signals}
    signal.Signals = enum.IntEnum("Signals", members)
    sys.modules.update(dict.fromkeys(modules))
    sys.platform = platform


wanted = list(names())
for name in wanted:
    importlib.import_module(name)
failed = []
for platform in PLATFORMS:
    forget()
    become(platform)
    for name in wanted:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{platform}: {name}: {type(error).__name__}: {error}")
if failed:
    sys.exit("\\n".join(failed))
print(len(wanted), "modules")
'''
SERVICE = """
from scalekit import create_app, lock_file
from scalekit.testing import request, running


async def bare(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def main():
    plugins = {"metrics": {}, "logging": {}, "cache": {}, "ratelimit": {"default": "100/m"}, "headers": {}}
    plugins |= {"console": {}, "tracing": {"endpoint": "http://127.0.0.1:1"}, "broadcast": {}, "compression": {}}
    app = create_app({"plugins": plugins}, app=bare)
    async with running(app) as state:
        print((await request(app, "/", state=state)).body.decode())
        print((await request(app, "/health/live", state=state)).status)


loop.run_until_complete(main())
try:
    lock_file(0)
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    command = [sys.executable, "-W", "ignore", "-c", SOURCE + SERVICE]
    folder = tmp_path_factory.mktemp("platforms")
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported_on_macos_and_windows(output: str) -> None:
    count = int(output.split()[0])
    assert count > 500


def test_an_application_with_plugins_in_memory_responds_without_what_windows_lacks(output: str) -> None:
    assert output.splitlines()[-3:-1] == ["hello", "200"]


def test_the_error_of_a_lock_names_the_platform_and_the_remedy(output: str) -> None:
    assert output.splitlines()[-1] == "Windows has no locks of this kind; run the service on Linux or macOS"


def test_no_module_uses_flock_directly() -> None:
    """All of them go through ``lock_file``, which says what is missing; records of pipes have another kind of lock."""
    users = [
        str(path.relative_to(ROOT))
        for folder in ("scalekit", "plugins")
        for path in Path(ROOT, folder).rglob("*.py")
        if "fcntl.flock" in path.read_text()
    ]
    assert users == ["scalekit/file_lock.py"]
