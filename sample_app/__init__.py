"""The sample service: items, users and login, with all plugins."""
