"""Values that all processes of a service share, on a Redis Cluster."""
