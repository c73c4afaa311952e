"""Let pages of other origins use the service: Cross-Origin Resource Sharing (Fetch standard)."""
