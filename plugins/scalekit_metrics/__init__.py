"""Prometheus metrics of requests and of every plugin, a Grafana dashboard and alerting rules."""
