"""Requests: the exchange, filters, and the chain that runs them."""
