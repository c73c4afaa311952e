"""Service discovery (configuration file, Consul, DNS), load-balanced calls with retries, and registration."""
