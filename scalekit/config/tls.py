"""The TLS table of plugins that connect to a server: ``tls = { ca_file, cert_file, key_file, verify }``."""

from __future__ import annotations

import ssl
from os.path import isfile
from typing import Literal

from pydantic import model_validator

from scalekit.config.table import Table
from scalekit.config.url import Url
from scalekit.errors import StartError


class Tls(Table):
    """TLS of a connection to a server; the plugin's own documentation says when the connection uses it."""

    ca_file: str | None = None
    """PEM file of the certificate authorities that may sign the server's certificate; unset takes the system's."""
    cert_file: str | None = None
    """PEM file of the client certificate, with its private key unless ``key_file`` has that."""
    key_file: str | None = None
    """PEM file of the private key of ``cert_file``."""
    verify: Literal["full", "ca"] = "full"
    """``full`` checks the server's certificate and its host name, ``ca`` only that a trusted authority signed it."""

    @model_validator(mode="after")
    def _files_exist(self) -> Tls:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file, the certificate of that key")
        for name in ("ca_file", "cert_file", "key_file"):
            file = getattr(self, name)
            if file and not isfile(file):
                raise ValueError(f"{name}: no such file: {file}")
        return self

    def require_scheme(self, secure: str, url: Url) -> None:
        """Raise ValueError when a key of this table is set but the scheme of *url* is not *secure*."""
        if self.model_fields_set and url.scheme != secure:
            raise ValueError(f"tls requires a {secure}:// URL; write one, or remove tls")

    def ssl_context(self, server: str) -> ssl.SSLContext:
        """Return the SSL context for connections to *server*; raise StartError when a file cannot be loaded."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.check_hostname = self.verify == "full"
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            files = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise StartError(f"TLS to {server}: cannot load {files}: {error.strerror or error}") from None
        return context
