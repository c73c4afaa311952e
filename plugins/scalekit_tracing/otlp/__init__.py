"""OTLP over HTTP: encode spans and send them to a collector."""
