"""The configuration file: read TOML, validate it, mask secrets."""

from scalekit.config.field_types import Network, Networks, Port
from scalekit.config.table import Table
from scalekit.config.tls import Tls
from scalekit.config.types import Duration, Rate, Secret, Size
from scalekit.config.url import HttpUrl, Url

__all__ = ["Duration", "HttpUrl", "Network", "Networks", "Port", "Rate", "Secret", "Size", "Table", "Tls", "Url"]
