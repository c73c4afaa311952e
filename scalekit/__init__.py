"""Put any ASGI application under one TOML file and its plugins."""

from starlette.middleware import Middleware

from scalekit.app import create_app
from scalekit.config import Duration, HttpUrl, Network, Networks, Port, Rate, Secret, Size, Table, Url
from scalekit.context import Context, Key
from scalekit.errors import ConfigError, PluginError, ResourceError, ScalekitError, StartError
from scalekit.exchange import Exchange, Observer, Observing, Socket
from scalekit.health.check import Check
from scalekit.hookspecs import hookimpl
from scalekit.layers import Layer, Layered
from scalekit.lifespan import Lifespan
from scalekit.path_glob import PathGlob
from scalekit.routes import ManagementRoute

__all__ = [
    "Check",
    "ConfigError",
    "Context",
    "Duration",
    "Exchange",
    "HttpUrl",
    "Key",
    "Layer",
    "Layered",
    "Lifespan",
    "ManagementRoute",
    "Middleware",
    "Network",
    "Networks",
    "Observer",
    "Observing",
    "PathGlob",
    "PluginError",
    "Port",
    "Rate",
    "ResourceError",
    "ScalekitError",
    "Secret",
    "Size",
    "Socket",
    "StartError",
    "Table",
    "Url",
    "create_app",
    "hookimpl",
]
