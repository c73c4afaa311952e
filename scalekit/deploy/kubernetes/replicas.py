"""How many pods run: HorizontalPodAutoscaler, PodDisruptionBudget, and the rule that gives metrics to the former."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit.deploy.kubernetes.values import ManifestValues
from scalekit.deploy.service import ServiceDescription

IN_FLIGHT = "http_requests_in_flight"
"""Metric of every service with Prometheus metrics: its requests in flight."""
SCALE_DOWN_DELAY = 300


def autoscaler(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the autoscaler by CPU and, with metrics, by requests in flight; the higher number of replicas applies."""
    target = {"type": "Utilization", "averageUtilization": values.cpu_utilization}
    metrics: list[Mapping[str, Any]] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if service.metrics_path:
        in_flight = {"type": "AverageValue", "averageValue": values.requests_in_flight}
        metrics.append({"type": "Pods", "pods": {"metric": {"name": IN_FLIGHT}, "target": in_flight}})
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": values.metadata("web"),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": values.name},
            "minReplicas": values.min_replicas,
            "maxReplicas": values.max_replicas,
            "metrics": metrics,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": SCALE_DOWN_DELAY}},
        },
    }


def disruption_budget(values: ManifestValues, component: str, suffix: str) -> Mapping[str, Any]:
    """Return the budget that lets a drained node evict one pod at a time, and pods that are not ready at any time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": values.metadata(component, suffix),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": values.selector(component)},
        },
    }


def adapter_rules() -> Mapping[str, Any]:
    """Return values for the chart of prometheus-adapter, with which the autoscaler gets requests in flight."""
    rule = {
        "seriesQuery": f'{IN_FLIGHT}{{namespace!="",pod!=""}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"as": IN_FLIGHT},
        "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
    }
    return {"rules": {"custom": [rule]}}
