"""Prometheus metrics of tokens, sessions and JWKS fetches."""

from __future__ import annotations

from scalekit.telemetry import Counter, CounterSeries, Gauge, Telemetry

VERIFIED = Counter("scalekit_jwt_verified", "Valid tokens, from the cache or by signature.", ("outcome",))
REFUSED = Counter("scalekit_jwt_refused", "Access tokens that were invalid or insufficient.", ("reason",))
ISSUED = Counter("scalekit_jwt_issued", "Sessions started.")
REFRESHES = Counter("scalekit_jwt_refreshes", "Refresh token requests by outcome of the rotation.", ("outcome",))
FETCHES = Counter("scalekit_jwt_key_fetches", "JWKS fetches from trusted issuers.", ("outcome",))
CACHED_TOKENS = Gauge("scalekit_jwt_cached_tokens", "Verified tokens in the cache.")


class JwtMetrics:
    """Records the metrics."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._refused: dict[str, CounterSeries] = {}
        self._refreshed: dict[str, CounterSeries] = {}
        self.cached, self.verified = (telemetry.series(VERIFIED, outcome) for outcome in ("cached", "verified"))
        self.issued = telemetry.series(ISSUED)
        self.cached_tokens = telemetry.series(CACHED_TOKENS)
        self.fetch_success, self.fetch_failure = (
            telemetry.series(FETCHES, outcome) for outcome in ("success", "failure")
        )

    def refused(self, reason: str) -> None:
        """Count an invalid or insufficient token."""
        series = self._refused.get(reason)
        if series is None:
            series = self._refused[reason] = self._telemetry.series(REFUSED, reason)
        series.inc()

    def refreshed(self, outcome: str) -> None:
        """Count a refresh token request."""
        series = self._refreshed.get(outcome)
        if series is None:
            series = self._refreshed[outcome] = self._telemetry.series(REFRESHES, outcome)
        series.inc()

    def counts(self) -> dict[str, dict[str, float]]:
        """Return the counts of this process by kind and outcome."""
        return {
            "sessions": {"started": self.issued.value},
            "verified": {"cached": self.cached.value, "verified": self.verified.value},
            "refused": {reason: series.value for reason, series in self._refused.items()},
            "refreshes": {outcome: series.value for outcome, series in self._refreshed.items()},
        }
