"""The command line. Each command is a module of this package, imported when it is called."""

from scalekit.cli.main import main

__all__ = ["main"]
