"""Bounds on what vendors, mirrors and files may make us read, store and wait for.

Sizes in bytes, times in seconds.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

CHAIN: Final = 64 * KIB
"""A certificate, or a chain in PEM; AMD's chains have 5 KB, Intel's 2 KB."""
REVOCATION_LIST: Final = 2 * MIB
"""A revocation list; Intel's largest has 100 KB."""
DOCUMENT: Final = 1 * MIB
"""TCB info or QE identity with its signature; Intel's largest has 15 KB."""
HEADER: Final = 16 * KIB
"""An issuer chain in a response header, percent-encoded; Intel's has 2.6 KB."""

TOTAL_SECONDS: Final = 120.0
"""All requests of one command together, waits between them included."""
ATTEMPT_SECONDS: Final = 30.0
"""One request from connecting to the last byte."""
CONNECT_SECONDS: Final = 10.0
"""A connection, and each single wait for bytes on it."""
FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0
"""Waits between attempts double from the first to the longest, each less up to half at random."""
SPACING_SECONDS: Final = 1.0
"""Between two requests to one host: AMD refuses clients that ask faster for long."""
REDIRECTS: Final = 3
"""In a row."""

REFRESH_SECONDS: Final = 24 * 3600.0
"""Lists and TCB documents older than this are asked for again although they are still in
date: vendors publish the next one early when something was found."""

CACHE_ENTRIES: Final = 20_000
"""Certificates of a large fleet."""
CACHE_BYTES: Final = 256 * MIB
CACHE_ENTRY: Final = 3 * MIB
"""One entry: the largest body with its chain."""

BUNDLE: Final = 32 * MIB
"""A bundle file; one for 1,000 machines has 2 MB."""
BUNDLE_ITEMS: Final = 5_000
"""Items in one bundle; each takes at most 9 CBOR items of the 50,000 that are decoded."""
EVIDENCE: Final = 1 * MIB
"""One evidence file."""
EVIDENCE_FILES: Final = 2_000
"""Evidence files of one command."""
