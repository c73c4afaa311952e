"""Generate deployment files from a configuration file: ``scalekit deploy KIND``."""

from scalekit.deploy.environment import EnvironmentVariable
from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.service import RequiredServer, ServiceDescription
from scalekit.deploy.yaml_writer import VerbatimText, to_yaml

__all__ = [
    "DeployKind",
    "EnvironmentVariable",
    "RequiredServer",
    "ServiceDescription",
    "VerbatimText",
    "generated_header",
    "to_yaml",
]
