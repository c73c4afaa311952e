"""The TLS table of plugins that connect to a server: ``tls = { ca_file, cert_file, key_file, verify }``."""

from __future__ import annotations

import ssl
from os.path import isfile
from typing import Literal

from pydantic import model_validator

from scalekit.config.tables import Table
from scalekit.config.url import Url
from scalekit.errors import StartError


class Certificates(Table):
    """Which certificates either side shows, where a server is reached over TLS."""

    ca_file: str | None = None
    """Certificates that the server's is checked against, over TLS; without it those of the system."""
    cert_file: str | None = None
    """This side's certificate for the server, with its key unless there is key_file."""
    key_file: str | None = None
    """The key of cert_file."""

    @model_validator(mode="after")
    def _key_has_its_certificate(self) -> Certificates:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is the key of a certificate; name that in cert_file")
        for name in ("ca_file", "cert_file", "key_file"):
            file = getattr(self, name)
            if file and not isfile(file):
                raise ValueError(f"{name}: there is no file {file}; put it there")
        return self

    def refuse_unless(self, secure: str, url: Url) -> None:
        """Raise ValueError when certificates are named, but *url* is not of the scheme *secure*."""
        if (self.ca_file or self.cert_file) and url.scheme != secure:
            raise ValueError(f"ca_file, cert_file and key_file are for TLS; write an {secure}:// address, or omit them")

    def tls(self, place: str) -> ssl.SSLContext:
        """Return what secures connections to *place*; raises StartError naming the files when they are of no use."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            files = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise StartError(f"no TLS to {place} with {files}: {error.strerror or error}; check the files") from None
        return context


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
            raise ValueError(f"tls applies to {secure}:// addresses only; write one, or leave tls out")

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
