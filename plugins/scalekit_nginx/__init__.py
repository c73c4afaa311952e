"""Generate nginx's configuration from the file and the instances of this service, and keep it up to date."""
