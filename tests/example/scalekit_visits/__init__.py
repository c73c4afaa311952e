"""Count the visits of each client: the plugin on which the host's own tests try every hook."""
