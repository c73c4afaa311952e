"""The command line; each command is a module of this package, imported when the command runs."""

from scalekit.cli.main import main

__all__ = ["main"]
