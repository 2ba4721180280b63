"""Telling systemd that a service is ready (sd_notify(3)), without its library."""

from __future__ import annotations

import os
import socket


def notify_systemd(message: str = "READY=1") -> None:
    """Send one message to the manager of this unit; nothing happens outside of a unit."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), address)
