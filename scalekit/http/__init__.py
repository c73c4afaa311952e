"""The request's path: the exchange, the filters that take part in it, and the chain that runs them."""
