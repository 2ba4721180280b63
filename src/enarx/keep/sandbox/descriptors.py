"""Which descriptors a Keep holds: the standard ones, which lead nowhere, and those it was given."""

from __future__ import annotations

import os


def keep_only(descriptors: list[int]) -> list[int]:
    """Close all descriptors but these, which move to 3, 4, ...; their new numbers.

    0, 1 and 2 become pipes whose other ends are closed: nothing to read, nobody to write
    to, and no later socket can take their numbers.
    """
    nothing, writer = os.pipe()
    reader, nobody = os.pipe()
    os.close(writer)
    os.close(reader)
    wanted = [nothing, nobody, nobody, *descriptors]
    # First above all of them, so that none is overwritten before it has moved.
    above = max(wanted) + 1
    for number, descriptor in enumerate(wanted):
        os.dup2(descriptor, above + number)
    for number in range(len(wanted)):
        os.dup2(above + number, number, inheritable=False)
    os.closerange(len(wanted), os.sysconf("SC_OPEN_MAX"))
    return list(range(len(wanted) - len(descriptors), len(wanted)))
