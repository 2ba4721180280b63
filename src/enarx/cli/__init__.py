"""The enarx command: thin."""
