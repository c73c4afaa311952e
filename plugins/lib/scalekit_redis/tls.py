"""The TLS context of a Redis URL's options."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from scalekit import StartError

VERIFY_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
NO = ("0", "false", "no")


def tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """Return the TLS context of *options* such as ``ssl_ca_certs``; raises OSError for unreadable files."""
    context = ssl.create_default_context()
    mode = options.get("ssl_cert_reqs", "required")
    if mode not in VERIFY_MODES:
        raise StartError(f"ssl_cert_reqs must be none, optional or required, got {mode!r}")
    checks_name = options.get("ssl_check_hostname", "").lower() not in NO
    context.check_hostname = checks_name and mode != "none"
    context.verify_mode = VERIFY_MODES[mode]
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if certificate is not None or key is not None:
        context.load_cert_chain(certificate or "", key)
    if "ssl_ca_certs" in options:
        context.load_verify_locations(options["ssl_ca_certs"])
    return context
