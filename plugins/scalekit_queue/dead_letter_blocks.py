"""The dead letters of a queue on its page: a list, and one of them with body and stack."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit import Redactor
from scalekit.pages import ActionForm, Block, Code, Column, DataTable, Facts, Link, Notice, Unit
from scalekit_queue.body_mask import describe_body
from scalekit_queue.envelope import FAILURE_HEADERS, FIRST_FAILED, LAST_FAILED, REASON, STACK, THEN, Envelope
from scalekit_queue.transport import QueueAdmin

MAX_LISTED = 50
"""Dead letters in the list."""
COLUMNS = (
    Column("message", code=True),
    Column("last failed", Unit.TIME),
    Column("attempts"),
    Column("reason"),
    Column("replay"),
    Column("delete"),
)
TIMES = {"published": Unit.TIME, "first failed": Unit.TIME, "last failed": Unit.TIME, "size": Unit.BYTES}


async def dead_letter_list(admin: QueueAdmin, queue: str, count: int) -> Sequence[Block]:
    """Return the first of *count* dead letters of *queue*."""
    letters = await admin.peek(queue, True, MAX_LISTED, max_body=0)
    rows = [
        (
            Link(letter.id, "queues", {"queue": queue, "message": letter.id}) if letter.id else None,
            _time(letter, LAST_FAILED),
            letter.attempt,
            letter.headers.get(REASON, ""),
            *_buttons(queue, letter.id),
        )
        for letter in letters
    ]
    table = DataTable(COLUMNS, rows, "Dead letters", more=max(0, count - len(rows)), empty="no dead letters")
    return [table, ActionForm("replay-all", {"queue": queue})] if rows else [table]


async def dead_letter(admin: QueueAdmin, queue: str, identifier: str, redactor: Redactor) -> Sequence[Block]:
    """Return the dead letter of *queue* with the id *identifier*."""
    letter = await admin.find_dead_letter(queue, identifier)
    if letter is None:
        return [Notice("No such dead letter is among the first ones.", "It may have been replayed or deleted.")]
    kind, text = describe_body(letter.body, redactor)
    facts = {
        "message": letter.id,
        "published": letter.published or None,
        "first failed": _time(letter, FIRST_FAILED),
        "last failed": _time(letter, LAST_FAILED),
        "attempts": letter.attempt,
        "reason": letter.headers.get(REASON, ""),
        "body": kind,
        "size": len(letter.body),
    }
    headers = {name: value for name, value in letter.headers.items() if name not in (*FAILURE_HEADERS, THEN)}
    _, following = describe_body(letter.headers.get(THEN, "").encode(), redactor)
    return [
        Facts(facts, "Dead letter", TIMES),
        *(ActionForm(action, {"queue": queue, "message": letter.id}) for action in ("replay", "delete")),
        *([Code(text, "Body")] if text else []),
        *([Code(following, "Then")] if following else []),
        *([Code(stack, "Stack")] if (stack := letter.headers.get(STACK, "")) else []),
        *([Facts(headers, "Headers")] if headers else []),
    ]


def _buttons(queue: str, identifier: str) -> tuple[ActionForm | None, ActionForm | None]:
    if not identifier:  # of another publisher
        return None, None
    values = {"queue": queue, "message": identifier}
    return ActionForm("replay", values), ActionForm("delete", values)


def _time(letter: Envelope, header: str) -> float | None:
    """Return the time in *header*, or None for a missing or invalid one of another publisher."""
    try:
        return float(letter.headers[header])
    except (KeyError, ValueError):
        return None
