"""Record why a response is not stored, with the remedy, as an event of the current span."""

from __future__ import annotations

from scalekit.telemetry import CURRENT_SPAN
from scalekit_cache.cache_status import NotStored

_CREDENTIALS = "the response must say that it does not depend on them, by Cache-Control: public or s-maxage"
EXPLANATIONS = {
    NotStored.AUTHORIZATION: f"the request has Authorization; {_CREDENTIALS}",
    NotStored.COOKIE: 'the request has a cookie; see the value "ignore" of the key cookies',
    NotStored.USER: f"the request has an authenticated user; {_CREDENTIALS}",
    NotStored.CREDENTIAL_HEADER: f"the request has one of credential_headers; {_CREDENTIALS}",
    NotStored.DECLARED: f"the route declares a credential that the request has; {_CREDENTIALS}",
    NotStored.APPLICATION_USER: f"the application has set a user; {_CREDENTIALS}",
    NotStored.REQUEST_BODY: "the request has a body, on which the response may depend",
    NotStored.METHOD: "responses to this method are not stored",
    NotStored.NO_STORE: "the response has no-store, or the policy of its path; remove it to store the response",
    NotStored.PRIVATE: "the response has private: only browsers may store it; send public if all users get the same",
    NotStored.MUST_UNDERSTAND: "the response has must-understand and an unknown status",
    NotStored.SET_COOKIE: "the response sets a cookie; set it only where it has to be, such as at the login",
    NotStored.VARY: "the response varies by everything, or by too many headers; send fewer in Vary",
    NotStored.STATUS: "responses with this status are stored only with an explicit lifetime, such as max-age",
    NotStored.PARTIAL: "the response is a part of a representation",
    NotStored.NO_LIFETIME: "neither the response nor a policy has a lifetime; set Cache-Control: max-age, or a policy",
    NotStored.STALE: "the response is stale on arrival and has no validator; send a longer max-age, or an ETag",
    NotStored.TOO_LARGE: "the response is larger than max_body; raise it in [plugins.cache]",
    NotStored.TRAILERS: "the response has trailers",
    NotStored.ERROR: "the response is a server error, and a stale response may be sent instead",
    NotStored.PURGED: "its data was changed while the application responded",
    NotStored.UNKNOWN_TABLES: "the tables that the application has read are not known; name tags instead",
}
"""Why a response is not stored, and the remedy, by the reason in ``Cache-Status``."""


def record_not_stored(reason: NotStored) -> None:
    """Add *reason* to the current span, if there is one."""
    current = CURRENT_SPAN.get()
    if current is not None:
        current.add_event("cache: not stored", {"scalekit.cache.reason": EXPLANATIONS[reason]})
