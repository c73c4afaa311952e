"""Generate nginx's configuration for the instances of this service, and update it when they change."""
