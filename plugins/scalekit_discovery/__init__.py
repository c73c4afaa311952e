"""Services that find and call each other by name: from the file, from Consul, from DNS."""
