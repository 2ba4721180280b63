"""Collateral from the vendors: fetch, cache, bundle. The verifier's only I/O."""
