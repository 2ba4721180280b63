"""The real keep manager with the fake silicon: same arguments as `enarx.host.manager`."""

from __future__ import annotations

import sys
from pathlib import Path

from enarx.host.manager import main

FAKE = (sys.executable, str(Path(__file__).with_name("fake_silicon.py")))

if __name__ == "__main__":
    sys.exit(main(silicon_command=FAKE))
