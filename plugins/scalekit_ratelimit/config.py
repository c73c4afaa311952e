"""The table ``[plugins.ratelimit]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from scalekit import Duration, Method, PathGlob, PositiveDuration, Rate, Table, TextPattern, Url
from scalekit_ratelimit.gcra import Algorithm, Limit, rule
from scalekit_ratelimit.keys import IPV6_PREFIX, Exemption, normalize_key_name, parse_exemption
from scalekit_redis.url import parse_url

Priority = Literal["low", "normal", "high"]

_NAME = r"^[A-Za-z0-9_.-]{1,64}$"


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _known_store(url: Url) -> Url:
    if url.reveal() == "memory:":
        return url
    if url.scheme not in ("redis", "rediss", "unix", "redis-cluster", "rediss-cluster"):
        raise ValueError(f'no store has the address {str(url)!r}; write "memory:" or "redis://127.0.0.1:6379/0"')
    parse_url(url.reveal())
    return url


LimitRates = Annotated[tuple[Rate, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])]
KeyNames = Annotated[
    tuple[Annotated[str, AfterValidator(normalize_key_name)], ...],
    BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1),
]
ExemptEntry = Annotated[Exemption, PlainValidator(parse_exemption, json_schema_input_type=str | dict[str, str])]
Positive = Annotated[int, Field(ge=1)]


class RateLimitPolicyConfig(Table):
    """Who may ask how often for what."""

    name: Annotated[str, TextPattern(_NAME, 'at most 64 letters, digits and "_ . -", such as "login"')]
    """What it is called in answers, metrics and the log."""
    path: PathGlob = PathGlob("/**")
    """Paths that it is for, such as ``/search/**``."""
    methods: tuple[Method, ...] = ()
    """Methods that it is for, ``GET`` being ``HEAD`` and a websocket's handshake too; without any, all of them."""
    limit: Annotated[LimitRates, Field(min_length=1)]
    """How often, as ``"5/15m"``, or several that hold at once."""
    burst: Positive | None = None
    """How many may come at once; without it, as many as limit says."""
    by: KeyNames = ("ip",)
    """What is counted by: ``ip``, ``subject``, ``header:NAME``, a function, several together, or ``code`` alone."""
    cost: Positive = 1
    """What one request takes from the limit."""
    exempt: tuple[ExemptEntry, ...] = ()
    """Networks, and users as ``{ issuer = "...", subject = "..." }``, that are not counted."""
    dry_run: bool = False
    """Whether it only counts and logs what it would refuse."""
    algorithm: Algorithm = "gcra"
    """``gcra`` gives back one after the other; ``sliding-window`` counts exactly what the last period had."""
    priority: Priority = "normal"
    """Who goes first when there is too much to do, where ``concurrency`` is on."""

    @model_validator(mode="after")
    def _can_be_counted(self) -> RateLimitPolicyConfig:
        least = min(each.burst for each in self.rules())
        if self.cost > least:
            raise ValueError(
                f"cost {self.cost} is more than the {least} that may come at once; nothing would be allowed"
            )
        return self

    @model_validator(mode="after")
    def _leaves_requests_to_the_code(self) -> RateLimitPolicyConfig:
        if "code" not in self.by:
            return self
        if len(self.by) > 1:
            raise ValueError('by = "code" stands alone; put what else is counted by into the key')
        told = [name for name in ("path", "methods", "exempt", "priority") if name in self.model_fields_set]
        if told:
            raise ValueError(
                f'{" and ".join(told)} cannot be beside by = "code", which is counted where LIMITS(request).hit(...) is'
                " called; leave it out"
            )
        return self

    @property
    def in_code(self) -> bool:
        """Whether the application counts it."""
        return "code" in self.by

    def rules(self) -> tuple[Limit, ...]:
        """Return its limits; raises ValueError for one that cannot be counted."""
        return rules(self.name, self.limit, self.burst, self.algorithm)


class ConcurrencyConfig(Table):
    """How many requests may be in flight, found out from how long they take."""

    enabled: bool = True
    """Whether it is on, where the table is there."""
    algorithm: Literal["gradient", "aimd"] = "gradient"
    """``gradient`` compares latency with what it is without load, ``aimd`` with ``target``."""
    initial: Positive = 20
    """The limit at the start."""
    least: Positive = 4
    """The limit is never lower."""
    most: Positive = 1000
    """The limit is never higher."""
    target: PositiveDuration = Duration("100ms")
    """The latency above which ``aimd`` lowers the limit."""
    tolerance: Annotated[float, Field(ge=1)] = 1.5
    """How many times the latency without load may grow before ``gradient`` lowers the limit."""
    retry_after: PositiveDuration = Duration("1s")
    """What who is refused is told to wait."""

    @model_validator(mode="after")
    def _is_in_order(self) -> ConcurrencyConfig:
        if not self.least <= self.initial <= self.most:
            raise ValueError(f"initial {self.initial} is not between least {self.least} and most {self.most}")
        return self


class RateLimitConfig(Table):
    """How often clients may ask, and where it is counted."""

    url: Annotated[Url, AfterValidator(_known_store)] = Url("memory:")
    """Where it is counted: ``memory:`` in each process, ``redis://`` or ``redis-cluster://`` for all instances."""
    default: LimitRates = ()
    """The limit for whatever no policy decides, by address; a policy with ``dry_run`` decides nothing."""
    policies: tuple[RateLimitPolicyConfig, ...] = ()
    """LimitRates for paths; every one that matches counts, and the strictest answers."""
    per_worker: bool = False
    """Whether ``memory:`` may count in each of several workers for itself, so that a limit is that of one worker."""
    ipv6_prefix: Annotated[int, Field(ge=1, le=128)] = IPV6_PREFIX
    """Bits of an IPv6 address that tell clients apart: who has one address of such a network has them all."""
    size: Annotated[int, Field(ge=2)] = 100_000
    """Keys that are remembered in memory; those that were not used for longest are forgotten."""
    on_error: Literal["local", "allow", "refuse"] = "local"
    """What happens while Redis is gone: count in the process, allow everything, or refuse everything with a 503."""
    deadline: PositiveDuration = Duration("2s")
    """How long Redis may take to answer; what takes longer is decided without it, and may not be exact."""
    retry: PositiveDuration = Duration("500ms")
    """Time between two attempts to reach Redis after it was late; no request waits for them."""
    legacy_headers: bool = False
    """Whether answers have ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` too."""
    concurrency: ConcurrencyConfig | None = None
    """An adaptive limit of requests in flight; an empty table turns it on."""

    @model_validator(mode="after")
    def _fits_together(self) -> RateLimitConfig:
        names = [policy.name for policy in self.policies] + (["default"] if self.default else [])
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two policies are called {', '.join(sorted(twice))}; give each a name of its own")
        rules("default", self.default)
        return self


def rules(
    name: str, limits: Iterable[Rate], burst: int | None = None, algorithm: Algorithm = "gcra"
) -> tuple[Limit, ...]:
    """Return the rules of the policy *name*, whose limits are told apart by their rates where there are several."""
    rates = tuple(limits)
    if len(set(rates)) < len(rates):
        raise ValueError(f"limit of {name!r} says the same twice; leave one out")
    return tuple(rule(name if len(rates) == 1 else f"{name} {rate}", rate, burst, algorithm) for rate in rates)
