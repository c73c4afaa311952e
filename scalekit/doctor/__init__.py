"""``scalekit doctor``: what is wrong or unwise in a configuration on this machine and with its servers."""
