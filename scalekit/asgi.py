"""The application for servers that import it: ``uvicorn scalekit.asgi:app``, granian, hypercorn.

The file is ``scalekit.toml`` in the current directory, or the one that SCALEKIT_CONFIG names. Such a server must leave
forwarded headers alone (``--no-proxy-headers`` for uvicorn): ``[server] trusted_proxies`` reads them. Addresses,
drain and deadlines of connections are that server's own then; ``scalekit run`` has them from the file.
"""

from __future__ import annotations

import os

from scalekit.app import create_app

app = create_app(os.environ.get("SCALEKIT_CONFIG", "scalekit.toml"))
