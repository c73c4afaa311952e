"""Count the statements of each request, and report those that repeat one, or run too many (N+1 queries)."""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import scalekit
from scalekit.contracts import STATEMENT_LOG
from scalekit.telemetry import CURRENT_SPAN, Attributes, Counter, Telemetry
from scalekit_pool.filters import CURRENT_REQUEST, RequestInfo, with_request_id
from scalekit_pool.leak_detection import CallSite, call_sites

logger = logging.getLogger("scalekit.pool")

REPEATED = Counter(
    "scalekit_pool_repeated_statements", "Requests that ran one statement too often (N+1).", ("pool", "route")
)
EXCEEDED = Counter(
    "scalekit_pool_exceeded_budgets", "Requests that ran more statements than query_budget.", ("pool", "route")
)
MAX_REPORTS = 1000
"""Statements and routes that are logged once each; further ones are not logged."""
MAX_FINGERPRINTS = 1000
"""Different statements of one request that are counted apart."""
MAX_TEXT = 300
"""Characters of a statement that are logged."""
OTHER = "other statements"
UNLIMITED = sys.maxsize


class QueryBudgetExceeded(Exception):
    """A request ran one statement, or statements altogether, more often than ``[plugins.pool.query_budget]`` allows."""


class BudgetLimits(Protocol):
    """How often a request may run one statement, and how many in all; 0 is unlimited."""

    @property
    def repeat(self) -> int:
        """How often it may run one statement."""
        ...

    @property
    def statements(self) -> int:
        """How many statements it may run."""
        ...

    @property
    def strict(self) -> bool:
        """Whether a statement beyond raises QueryBudgetExceeded."""
        ...


class QueryFinding(NamedTuple):
    """A problem of the requests of *route*: its *statement*, empty when it is their number, and the line of code."""

    pool: str
    route: str
    statement: str
    problem: str
    location: str


def ignore_finding(finding: QueryFinding) -> None:
    """Do nothing."""


class QueryBudget:
    """Counts the statements of requests on the database *pool*, which is also the label of metrics.

    *report* receives the finding of each request with a problem.
    """

    def __init__(
        self,
        limits: BudgetLimits,
        telemetry: Telemetry,
        pool: str,
        report: Callable[[QueryFinding], None] = ignore_finding,
    ) -> None:
        self._report_finding = report
        self._repeat = limits.repeat
        self._statements = limits.statements
        # The numbers of the statements that exceed the budget: the first one, which is reported, and when it is strict
        # all further ones, which raise too.
        self._first_repeated = limits.repeat + 1 if limits.repeat else UNLIMITED
        self._first_above = limits.statements + 1 if limits.statements else UNLIMITED
        self._last_repeated = UNLIMITED if limits.strict else self._first_repeated
        self._last_above = UNLIMITED if limits.strict else self._first_above
        self._is_limited = bool(limits.repeat or limits.statements)
        self._strict = limits.strict
        self._telemetry = telemetry
        self._pool = pool
        self._reported: set[tuple[str, str]] = set()

    def count(self, fingerprint: str) -> None:
        """Count a statement of the current request before it runs; raise QueryBudgetExceeded where that is due."""
        log = STATEMENT_LOG.get()
        if log is not None:
            log.append(fingerprint)
        request = CURRENT_REQUEST.get() if self._is_limited else None
        if request is None:
            return
        counts = request.statements
        number = counts.get(fingerprint, 0) + 1
        if number == 1 and len(counts) >= MAX_FINGERPRINTS:
            fingerprint = OTHER
            number = counts.get(OTHER, 0) + 1
        counts[fingerprint] = number
        total = request.statement_count = request.statement_count + 1
        if self._first_repeated <= number <= self._last_repeated and fingerprint is not OTHER:  # these differ
            problem = f"one statement more than {self._repeat} times (N+1)"
            self._exceed(request, REPEATED, fingerprint, problem, is_first=number == self._first_repeated)
        if self._first_above <= total <= self._last_above:
            problem = f"more than {self._statements} statements"
            self._exceed(request, EXCEEDED, "", problem, is_first=total == self._first_above)

    def _exceed(self, request: RequestInfo, counter: Counter, statement: str, problem: str, *, is_first: bool) -> None:
        """Report that *request* has *problem*, and raise QueryBudgetExceeded when the budget is strict."""
        if not request.has_budget:
            return
        site = _application_line()
        if is_first:
            self._report(request, counter, statement, problem, site)
        if self._strict:
            where = f"{request.route or 'a request'} runs {problem} at {_shown(site)}"
            raise QueryBudgetExceeded(f"{where}: {statement[:MAX_TEXT]}")

    def _report(
        self, request: RequestInfo, counter: Counter, statement: str, problem: str, site: CallSite | None
    ) -> None:
        """Count that *request* has *problem*; log it once per route and statement."""
        route = request.route
        self._telemetry.series(counter, self._pool, route).inc()
        self._report_finding(QueryFinding(self._pool, route, statement[:MAX_TEXT], problem, _shown(site)))
        current = CURRENT_SPAN.get()
        if current is not None:
            current.add_event("query budget", _event_attributes(problem, statement, site))
        if (route, statement) not in self._reported and len(self._reported) < MAX_REPORTS:
            self._reported.add((route, statement))
            self._log(request, statement, problem, _shown(site))

    def _log(self, request: RequestInfo, statement: str, problem: str, place: str) -> None:
        shown = statement[:MAX_TEXT]
        fields: dict[str, object] = {"pool": self._pool, "route": request.route, "statement": shown, "location": place}
        extra = with_request_id(fields, request)
        logger.warning("%s runs %s at %s: %s", request.route or "a request", problem, place, shown, extra=extra)


def _application_line() -> CallSite | None:
    """Return the innermost frame of the application; a task that runs nothing but the database's method has none."""
    for code, line in call_sites(4):
        if not code.co_filename.startswith(_LIBRARIES):
            return code, line
    return None


def _shown(site: CallSite | None) -> str:
    if site is None:
        return "an unknown place, in a task of its own"
    code, line = site
    return f"{code.co_filename}:{line} in {code.co_qualname}"


def _event_attributes(problem: str, statement: str, site: CallSite | None) -> Attributes:
    """Return the attributes of the event (OpenTelemetry semantic conventions, database and code, stable)."""
    attributes: Attributes = {"scalekit.query_budget.problem": problem}
    if statement:
        attributes["db.query.text"] = statement
    if site is not None:
        code, line = site
        attributes |= {
            "code.file.path": code.co_filename,
            "code.line.number": line,
            "code.function.name": code.co_qualname,
        }
    return attributes


_LIBRARIES = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("platlib"),
    str(Path(scalekit.__file__).parent),
)
