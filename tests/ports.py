"""Ports that something else is told to use, a moment later and in a process of its own."""

from __future__ import annotations

import random
import socket

_PORTS = range(10_000, 20_000)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment, and that nobody is given by chance meanwhile.

    One that the kernel gives (port 0) may be given to any connection of another test before it is used. These lie
    below those (ip_local_port_range), and below those of the launcher's own jobs; two tests hardly draw the same.
    """
    drawn = random.SystemRandom().sample(_PORTS, len(_PORTS))
    return [port for port, _ in zip(filter(_is_free, drawn), range(count), strict=False)]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
