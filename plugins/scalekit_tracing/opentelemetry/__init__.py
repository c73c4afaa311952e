"""Spans of libraries that use opentelemetry-api, which is optional: only `registration` is imported without it."""
