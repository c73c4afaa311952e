"""Kubernetes as the source of instances."""
