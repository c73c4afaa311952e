"""The credentials of a pod: token, certificate authorities and namespace of its service account."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from os import stat_result
from pathlib import Path

from scalekit import Tls
from scalekit_discovery.config import SERVICE_ACCOUNT, DiscoveryConfig
from scalekit_discovery.sources import SourceError

DEFAULT_URL = "https://kubernetes.default.svc"
"""The API server by its DNS name, where the environment does not name it."""
MAX_FILE = 65_536
"""Bytes of a token or namespace file that are read."""


def api_url(config: DiscoveryConfig, environ: Mapping[str, str]) -> str:
    """Return the API server's URL: that of the configuration, or the one that the kubelet writes into *environ*."""
    if config.kubernetes is not None:
        return config.kubernetes.reveal().rstrip("/")
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return DEFAULT_URL
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class ServiceAccount:
    """Reads the files again for each request, because the kubelet replaces a token before it expires."""

    def __init__(self, config: DiscoveryConfig, folder: Path = SERVICE_ACCOUNT) -> None:
        self._config = config
        self._folder = folder
        self._ssl: ssl.SSLContext | None = None
        self._ca_version: tuple[int, int] | None = None

    def headers(self) -> dict[str, str]:
        """Return the ``Authorization`` header, none without a token; raise SourceError for an unreadable file."""
        config = self._config
        if config.token is not None and (token := config.token.get_secret_value()):
            return {"Authorization": f"Bearer {token}"}
        has_certificate = config.tls is not None and config.tls.cert_file is not None
        if not config.token_file or not self._is_secure() or has_certificate:
            return {}
        return {"Authorization": f"Bearer {_read(Path(config.token_file))}"}

    def namespace(self) -> str:
        """Return the namespace of the configuration, else that of the pod, else ``default``."""
        if self._config.namespace:
            return self._config.namespace
        try:
            return _read(self._folder / "namespace")
        except SourceError:
            return "default"

    def ssl_context(self) -> ssl.SSLContext:
        """Return the SSL context, a new one after the CA file has been replaced; raise StartError without one."""
        tls = self._config.tls or Tls()
        if tls.ca_file is None and (self._folder / "ca.crt").is_file():
            tls = tls.model_copy(update={"ca_file": str(self._folder / "ca.crt")})
        version = _version(tls.ca_file)
        if self._ssl is None or (version is not None and version != self._ca_version):
            self._ssl, self._ca_version = tls.ssl_context("Kubernetes"), version
            # Python 3.13 began to require an authority key identifier (RFC 5280, section 4.2.1.1), which certificates
            # of some clusters lack. Other clients of Kubernetes accept those.
            self._ssl.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self._ssl

    def _is_secure(self) -> bool:
        """Return whether requests are encrypted: the token of a pod goes into no plain request."""
        return self._config.kubernetes is None or self._config.kubernetes.scheme == "https"


def _version(file: str | None) -> tuple[int, int] | None:
    """Return what changes when the file is replaced, None without a readable file."""
    if file is None:
        return None
    try:
        status: stat_result = Path(file).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE).decode("ascii").strip()
    except FileNotFoundError:
        raise SourceError(f"no such file: {file}; outside of a cluster set kubernetes and token_file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'not ASCII'}") from None
    if not text or not text.isprintable():
        raise SourceError(f"{file} contains no token or name")
    return text
