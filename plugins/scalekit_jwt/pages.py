"""The page of tokens: the sessions of a user, counts of tokens, and keys without their material."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scalekit import Unavailable
from scalekit.contracts import SubjectIdentifier
from scalekit.pages import (
    ActionForm,
    Block,
    Cell,
    Column,
    ConsolePage,
    DataTable,
    FormField,
    Notice,
    PageAction,
    PageView,
    QueryForm,
    Unit,
)
from scalekit_jwt.config import JwtConfig
from scalekit_jwt.factory import JwtComponents
from scalekit_jwt.session_store import SessionRecord

SHOWN_SESSIONS = 100
NOT_STARTED = "the plugin jwt has not started; try again"
SESSIONS = (
    Column("session", code=True),
    Column("started", Unit.TIME),
    Column("last refreshed", Unit.TIME),
    Column("expires", Unit.TIME),
    Column("action"),
)
COUNTS = (Column("what"), Column("outcome"), Column("count"))
KEYS = (
    Column("kid", code=True),
    Column("algorithm"),
    Column("use"),
    Column("age", Unit.SECONDS),
    Column("verifies until", Unit.TIME),
)
ISSUERS = (
    Column("worker"),
    Column("issuer"),
    Column("kids", code=True),
    Column("last fetch", Unit.TIME),
    Column("next fetch by", Unit.TIME),
    Column("error"),
)


class TokensPage:
    """The page of the *components* of the plugin, None while it does not run."""

    def __init__(self, config: JwtConfig, components: Callable[[], JwtComponents | None]) -> None:
        self._config = config
        self._components = components

    async def collect(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the counts and the fetched keys of this worker."""
        components = self._components()
        if components is None:
            return None
        intervals = {table.issuer: table.jwks_refresh_interval for table in self._config.issuers}
        return {
            "counts": components.metrics.counts(),
            "error": components.poller.last_error,
            "issuers": [
                {
                    "issuer": jwks.issuer,
                    "kids": ", ".join(sorted({key.kid for key in jwks.current.keys})),
                    "fetched": jwks.fetched_at or None,
                    "next": jwks.fetched_at + intervals[jwks.issuer] if jwks.fetched_at else None,
                    "error": jwks.last_error,
                }
                for jwks in components.jwks
            ],
        }

    async def render(self, view: PageView) -> Sequence[Block]:
        """Return the blocks of the page."""
        workers = {worker: data for worker, data in view.workers.items() if data is not None}
        components = self._components()
        errors = dict.fromkeys(data["error"] for data in workers.values() if data["error"])
        if components is None:
            return [Notice(NOT_STARTED)]
        return [
            *(Notice(error, "Tokens that are revoked elsewhere stay valid until it is mended.") for error in errors),
            *(await self._sessions(components, view.query)),
            _counts(list(workers.values())),
            _keys(components),
            *_issuers(workers),
        ]

    async def end(self, values: Mapping[str, str]) -> str:
        """End a session."""
        if "\x00" in values["session"]:
            raise ValueError("no session has a name with a null character; copy one from the table")
        await self._started().refresh_tokens.end(values["session"])
        session, interval = values["session"], self._config.poll_interval
        return f"ended the session {session}; each worker refuses its tokens within {interval}"

    async def end_all(self, values: Mapping[str, str]) -> str:
        """End all sessions of a subject."""
        subject = values["subject"]
        if "\x00" in subject:
            raise ValueError("no user has a name with a null character; copy the claim sub of a token")
        await self._started().tokens.revoke_all(subject)
        return f"ended all sessions of {subject}; each worker refuses their tokens within {self._config.poll_interval}"

    def _started(self) -> JwtComponents:
        components = self._components()
        if components is None:
            raise ValueError(NOT_STARTED)
        return components

    async def _sessions(self, components: JwtComponents, query: Mapping[str, str]) -> list[Block]:
        issuer, subject = self._config.issuer, query.get("subject", "").replace("\x00", "")
        shown = {"subject": subject, "issuer": query.get("issuer") or issuer}
        form = QueryForm({"subject": "User (sub)", "issuer": "Issuer (iss)"}, shown, "Show sessions")
        if not subject:
            return [form]
        if shown["issuer"] != issuer:
            return [form, Notice(f"Sessions of users of {shown['issuer']} are stored there.", f"Issuer here: {issuer}")]
        now = time.time()
        try:
            found = await components.sessions.sessions_of(SubjectIdentifier(issuer, subject), now, SHOWN_SESSIONS)
        except Unavailable as error:
            return [form, Notice(f"The sessions cannot be read: {error}")]
        table = DataTable(SESSIONS, list(map(_session_row, found)), "Sessions", empty="no session of this user")
        more = f"Only the {SHOWN_SESSIONS} that expire last are shown." if len(found) == SHOWN_SESSIONS else ""
        end_all = ActionForm("end-all", {"subject": subject})
        return [form, table, *([Notice(more)] if more else []), end_all]


def tokens_page(config: JwtConfig, components: Callable[[], JwtComponents | None]) -> ConsolePage:
    """Return the page of the *components* of the plugin, None while it does not run."""
    page = TokensPage(config, components)
    return ConsolePage(
        "tokens",
        "Tokens",
        page.render,
        page.collect,
        [
            PageAction(
                "end",
                "End",
                page.end,
                [FormField("session", "Session", required=True)],
                confirm="End this session? Its client must log in again.",
            ),
            PageAction(
                "end-all",
                "End all sessions of this user",
                page.end_all,
                [FormField("subject", "User (sub)", required=True)],
                confirm="End all sessions of this user? All clients must log in again.",
            ),
        ],
        description="Sessions of a user, which can be ended, counts of tokens by outcome, and the keys in use.",
    )


def _session_row(record: SessionRecord) -> Sequence[Cell]:
    end = ActionForm("end", {"session": record.family})
    return record.family, record.created or None, record.refreshed or None, record.expires, end


def _counts(workers: Sequence[Mapping[str, Any]]) -> DataTable:
    totals: dict[tuple[str, str], float] = {}
    for worker in workers:
        for kind, outcomes in worker["counts"].items():
            for outcome, count in outcomes.items():
                totals[kind, outcome] = totals.get((kind, outcome), 0) + count
    rows = [(*names, count) for names, count in totals.items()]
    return DataTable(COUNTS, rows, "Counts since the start, over all workers")


def _keys(components: JwtComponents) -> DataTable:
    keys = components.keys
    rows: list[Sequence[Cell]] = []
    for number, key in enumerate(keys.current.keys):
        signs = number == 0
        age = time.time() - keys.changed_at if signs and keys.changed_at else None
        rows.append((key.kid, key.algorithm, "signs, verifies" if signs else "verifies", age, key.expires_at or None))
    return DataTable(KEYS, rows, "Keys of this service")


def _issuers(workers: Mapping[str, Mapping[str, Any]]) -> list[DataTable]:
    columns = ("issuer", "kids", "fetched", "next", "error")
    rows = [
        (worker, *(each[column] for column in columns)) for worker, data in workers.items() for each in data["issuers"]
    ]
    return [DataTable(ISSUERS, rows, "Keys of trusted issuers")] if rows else []
