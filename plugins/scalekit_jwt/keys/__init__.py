"""Signing keys: secrets and key pairs, key sets, the key file with its rotation, and the JWK sets of other issuers."""
