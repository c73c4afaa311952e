"""Request headers that tell who asks, beside ``Authorization`` and ``Cookie``, which always do."""

from __future__ import annotations

from collections.abc import Iterable

ALWAYS = frozenset({b"authorization", b"cookie"})
"""Credentials with rules of their own (RFC 9111, section 3.5)."""

CREDENTIAL_HEADERS = (
    "Proxy-Authorization",
    "X-Authorization",
    "X-API-Key",
    "Api-Key",
    "ApiKey",
    "X-Auth-Key",
    "X-Auth-Token",
    "X-Access-Token",
    "X-Session-Id",
    "X-Token",
    "X-User",
    "X-User-Id",
    "X-CSRF-Token",
    "X-CSRFToken",
    "X-XSRF-Token",
    "Remote-User",
    "Remote-Groups",
    "Remote-Email",
    "X-Remote-User",
    "X-Remote-Group",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Access-Token",
    "X-Authenticated-User",
    "X-Authenticated-Userid",
    "X-Credential-Username",
    "X-Consumer-Id",
    "X-Consumer-Username",
    "X-Userinfo",
    "X-Authentik-Username",
    "X-Pomerium-Jwt-Assertion",
    "Tailscale-User-Login",
    "X-Webauth-User",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Oidc-AccessToken",
    "X-Amzn-Mtls-Clientcert",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-Authenticated-User-Id",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-ID",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-MS-CLIENT-PRINCIPAL-IDP",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-MS-TOKEN-AAD-ACCESS-TOKEN",
    "X-Client-Cert",
    "X-SSL-Cert",
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "X-SSL-Client-S-DN",
    "SSL-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-ARR-ClientCert",
)
"""What clients, and proxies that authenticate, send as a rule."""


def credential_names(headers: Iterable[str]) -> frozenset[bytes]:
    """Return the names of *headers* as a request has them, also as a gateway to WSGI reads them: with underscores."""
    names = {name.lower().encode() for name in headers}
    return frozenset({*names, *(name.replace(b"-", b"_") for name in names)}) - ALWAYS
