"""Count the visits of each client: the plugin with which the host's tests call every hook."""
