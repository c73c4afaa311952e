"""Compress responses with Brotli, Zstandard or gzip."""
