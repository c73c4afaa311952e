"""Write nginx's configuration for this service, from the file and the instances that are known now."""
