"""Several processes that serve one address, and the supervisor above them.

The supervisor binds the sockets and hands them down, so that a connection never meets a closed door while any worker
lives. It imports neither the application nor what serves it: a parent process for each generation of workers does, and
forks them, or each worker does so for itself. Each worker holds one end of a channel: it says that it is ready, then
every second that its event loop runs, and how much it has counted.
"""
