"""Generate deployment files from a configuration file: ``scalekit deploy KIND``."""

from scalekit.deploy.environment import EnvironmentVariable
from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.proxy_options import PROXY_OPTIONS, describe_proxy
from scalekit.deploy.reverse_proxy import ReverseProxy, idle_time
from scalekit.deploy.service import RequiredServer, ServiceDescription
from scalekit.deploy.yaml_writer import VerbatimText, to_yaml

__all__ = [
    "PROXY_OPTIONS",
    "DeployKind",
    "EnvironmentVariable",
    "RequiredServer",
    "ReverseProxy",
    "ServiceDescription",
    "VerbatimText",
    "describe_proxy",
    "generated_header",
    "idle_time",
    "to_yaml",
]
