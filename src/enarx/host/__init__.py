"""Untrusted: keep manager, keep loader, launchers, platform probe."""
