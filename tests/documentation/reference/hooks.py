"""The page of every hook, from its specification."""

from __future__ import annotations

import inspect

from scalekit import hookspecs
from tests.documentation.reference.every_plugin import host
from tests.documentation.reference.markdown import prose, table

PAGE = "reference/hooks"


def pages() -> dict[str, str]:
    """Return the page of all hooks."""
    hooks = [(name, function) for name, function in vars(hookspecs).items() if name.startswith("scalekit_")]
    introduction = (
        f"# Hooks\n\n{prose(hookspecs.__doc__)}\n\nThe version of these specifications is {hookspecs.VERSION}: see "
        "[stability](../stability.md). The [handbook](../handbook.md#hooks) shows how to use them.\n"
    )
    return {PAGE: "\n".join([introduction, *(_section(name, function) for name, function in hooks)])}


def _section(name: str, function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type] # hooks are functions
    plugins = host().settings.plugins
    users = ", ".join(
        f"[{each}](../plugins/{each}.md)" for each in sorted(plugins.names) if name in plugins.hooks(each)
    )
    arguments = [(f"`{key}`", f"`{each.annotation}`") for key, each in signature.parameters.items()]
    return "\n".join(
        [
            f"## `{name}`\n",
            prose(function.__doc__) + "\n",
            f"```python\ndef {name}{signature}: ...\n```\n".replace("'", ""),
            table(("argument", "type"), arguments),
            f"Implemented by {users}.\n" if users else "",
        ]
    )
