"""The service account of the pods, and what it may read from the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalekit.deploy.kubernetes.values import ManifestValues
from scalekit.deploy.service import ServiceDescription
from scalekit.server_requirement import KUBERNETES

DISCOVERY = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
"""What a service needs that finds others by their EndpointSlices."""
GROUP = "rbac.authorization.k8s.io"


def service_account(values: ManifestValues, service: ServiceDescription) -> Sequence[Mapping[str, Any]]:
    """Return the service account, with a role in its namespace when the service reads EndpointSlices."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": values.metadata("web"),
        "automountServiceAccountToken": False,
    }
    if not any(each.kind == KUBERNETES for each in service.servers):
        return [account]
    subject = {"kind": "ServiceAccount", "name": values.name, "namespace": values.subject_namespace}
    role = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Role",
        "metadata": values.metadata("web", "discovery"),
        "rules": [DISCOVERY],
    }
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": values.metadata("web", "discovery"),
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": values.named("discovery")},
        "subjects": [subject],
    }
    return [account, role, binding]
