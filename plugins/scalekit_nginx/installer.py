"""Put a configuration where nginx reads it, and let it read it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from scalekit.errors import ScalekitError
from scalekit_nginx.config import NginxConfig

PLACES = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/sbin"))
LIMIT = 30.0


class NginxError(ScalekitError):
    """What nginx says about a configuration, or that it cannot be asked."""


def write(text: str, file: Path) -> None:
    """Put *text* into *file*, whole or not at all."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(text)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise NginxError(f"cannot write {file}: {error.strerror}; name another with --output") from None


def write_tested(text: str, file: Path, table: NginxConfig) -> None:
    """Put *text* into *file* if nginx accepts it; raises NginxError, and leaves *file* as it was, if not."""
    tried = file.with_name(f".{file.name}.{os.getpid()}.tried")
    write(text, tried)
    try:
        refuse_what_nginx_does(tried, table)
        tried.replace(file)
    finally:
        tried.unlink(missing_ok=True)


def refuse_what_nginx_does(file: Path, table: NginxConfig) -> None:
    """Raise NginxError saying what ``nginx -t`` says when it does not accept *file*."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), PLACES)))
    if program is None:
        raise NginxError("nginx is not installed, so nothing can be tested or reloaded; leave out --reload")
    folder = Path(table.directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "-t", "-q", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise NginxError(f"nginx does not accept the configuration: {done.stderr.strip()}")


def reload(table: NginxConfig) -> bool:
    """Let the running nginx read its configuration anew; tell whether one runs."""
    try:
        number = int((Path(table.directory) / "nginx.pid").read_text())
        os.kill(number, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True
