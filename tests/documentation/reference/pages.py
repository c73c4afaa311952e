"""All pages of the reference, which exist on the site only."""

from __future__ import annotations

from tests.documentation.reference import commands, configuration, hooks, metrics

INDEX = """# Reference

Made from the code at each build, so it has the keys, commands, hooks and metrics of this version.

| page | content |
|---|---|
| [keys of the file](configuration/index.md) | every table and key, with type, default and meaning |
| [all commands](commands/index.md) | every command with its options |
| [metrics](metrics.md) | every metric with type, unit and labels |
| [hooks](hooks.md) | every hook that a plugin may implement |
| [public names](../api.md) | every name that plugins and applications may import |
"""


def reference_pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    made = {"reference/index": INDEX}
    for module in (configuration, commands, hooks, metrics):
        made |= module.pages()
    return made
