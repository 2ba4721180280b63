"""`python -m enarx` is the command `enarx`."""

from enarx.cli.main import main

main()
