"""All figures, one program after another: `python -m bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    here = Path(__file__).resolve().parent
    programs = sorted(path for path in here.glob("*.py") if not path.name.startswith("_"))
    failed = 0
    for program in programs:
        print(f"== {program.stem} ==", flush=True)
        failed |= subprocess.run([sys.executable, program], cwd=here.parent, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
