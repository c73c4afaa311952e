"""A process's memory: what it uses, what grows, and what keeps it in hand."""
