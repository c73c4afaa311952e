"""Read-your-writes on replicas: route reads by replay position, with signed tokens of the client's last write."""
