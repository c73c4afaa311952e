"""Security headers for responses, nonces for a Content Security Policy, and protection against CSRF."""

from scalekit_headers.nonce import csp_nonce

__all__ = ["csp_nonce"]
