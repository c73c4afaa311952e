"""Several worker processes that serve one address, and their supervisor.

The supervisor binds the listening sockets and the workers inherit them, so connections are accepted as long as any
worker runs. The supervisor imports neither the application nor the server: a fork server for each generation of workers
does and forks them, or each worker imports for itself. A channel connects each worker to the supervisor: it reports
readiness, then every second a heartbeat and its metrics.
"""
