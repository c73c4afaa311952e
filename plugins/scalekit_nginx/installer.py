"""Write the configuration file atomically, test it with ``nginx -t`` and reload nginx."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from scalekit import ScalekitError
from scalekit_nginx.config import NginxConfig

SEARCH_PATH = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/sbin"))
"""Folders that are searched for nginx after those of PATH."""
TEST_TIMEOUT = 30.0
"""Seconds that ``nginx -t`` may take."""


class NginxError(ScalekitError):
    """nginx is not installed or rejects the configuration, or the file cannot be written."""


def write(text: str, file: Path) -> None:
    """Replace the content of *file* by *text* atomically; raises NginxError when it cannot be written."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise NginxError(f"cannot write {file}: {error.strerror}; choose another file with --output") from None


def install(text: str, file: Path, config: NginxConfig) -> None:
    """Write *text* to *file* when nginx accepts it; otherwise raise NginxError and leave *file* unchanged."""
    candidate = file.with_name(f".{file.name}.{os.getpid()}.candidate")
    write(text, candidate)
    try:
        verify(candidate, config)
        candidate.replace(file)
    finally:
        candidate.unlink(missing_ok=True)


def verify(file: Path, config: NginxConfig) -> None:
    """Raise NginxError with the output of ``nginx -t`` when nginx rejects *file*."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), SEARCH_PATH)))
    if program is None:
        raise NginxError("nginx is not installed, so it can neither test nor reload; install it or omit --reload")
    folder = Path(config.directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "-t", "-q", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_TIMEOUT, check=False)
    if done.returncode:
        raise NginxError(f"nginx rejects the configuration: {done.stderr.strip()}")


def reload(config: NginxConfig) -> bool:
    """Send SIGHUP to the running nginx; return whether one is running."""
    try:
        pid = int((Path(config.directory) / "nginx.pid").read_text())
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True
