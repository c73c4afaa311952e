"""Let a verdict on a request travel together with the first question of who needs it.

A layer that admits requests asks a server whether it may; a layer further in asks the same server for something.
Waiting for the one before asking the other costs a round trip. So a link of the chain may say, by
``awaits_admission = True`` on its class, that it awaits :func:`admitted` before anything leaves, runs or is kept on
behalf of the request; it may ask for what it needs before that. A link between the two says
``carries_admission = True`` when it answers nothing and starts nothing before it calls on. Where no link waits, whoever
admits waits itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Scope

Verdict = Callable[[], Awaitable[None]]
"""Returns when a request is admitted, and raises NotAdmitted when it is not; may be called again."""

PENDING = "scalekit.admission"


class NotAdmitted(Exception):
    """Ends a request that is refused: whoever said so catches it and answers."""


def waits(app: ASGIApp) -> bool:
    """Tell whether *app*, what a middleware wraps, waits for verdicts that are pending."""
    while getattr(type(app), "carries_admission", False):
        app = app.app  # type: ignore[attr-defined]
    return bool(getattr(type(app), "awaits_admission", False))


def defer(scope: Scope, verdict: Verdict) -> None:
    """Leave *verdict* to the link that waits for it."""
    scope[PENDING] = (*scope.get(PENDING, ()), verdict)


def withdraw(scope: Scope, verdict: Verdict) -> None:
    """Leave those verdicts that are further out than *verdict*: whoever refuses waits for no other before it answers.

    They are pending still when a link has called on without waiting for them.
    """
    pending = scope.get(PENDING, ())
    if verdict in pending:
        scope[PENDING] = pending[: pending.index(verdict)]


async def admitted(scope: Scope) -> None:
    """Return when everybody admits *scope*; raises NotAdmitted, which the caller passes on, when somebody does not."""
    for verdict in scope.pop(PENDING, ()):
        await verdict()
