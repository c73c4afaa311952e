"""What is counted."""

from __future__ import annotations

from scalekit.telemetry import Counter, Gauge, Telemetry

VERIFIED = Counter("scalekit_jwt_verified", "Tokens that were looked at, by how it went.", ("outcome",))
REFUSED = Counter("scalekit_jwt_refused", "Tokens that were refused, by why.", ("reason",))
ISSUED = Counter("scalekit_jwt_issued", "Sessions that began.")
REFRESHES = Counter("scalekit_jwt_refreshes", "Refresh tokens that were presented, by how it went.", ("outcome",))
FETCHES = Counter("scalekit_jwt_key_fetches", "Fetches of other issuers' keys, by how it went.", ("outcome",))
REMEMBERED = Gauge("scalekit_jwt_remembered", "Tokens that are remembered.")


class JwtMetrics:
    """The numbers of the plugin."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.known, self.new = (telemetry.series(VERIFIED, outcome) for outcome in ("remembered", "new"))
        self.issued = telemetry.series(ISSUED)
        self.remembered = telemetry.series(REMEMBERED)
        self.fetched, self.not_fetched = (telemetry.series(FETCHES, outcome) for outcome in ("done", "failed"))

    def refused(self, reason: str) -> None:
        """Count a token that was refused for *reason*."""
        self._telemetry.series(REFUSED, reason).inc()

    def refreshed(self, outcome: str) -> None:
        """Count a refresh token that was presented."""
        self._telemetry.series(REFRESHES, outcome).inc()
