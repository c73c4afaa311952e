"""Consul: the HTTP API client, blocking queries, and the registration of this instance."""
