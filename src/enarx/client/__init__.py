"""The tenant's agent: create, attest, send, read results."""
