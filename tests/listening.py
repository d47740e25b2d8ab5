"""Where the processes that a test started really listen, asked of the operating system."""

from __future__ import annotations

import ipaddress

import psutil


def listening(process: psutil.Process | None = None) -> dict[int, str]:
    """Port -> address of every socket that this process (or `process`) and all below it listen on."""
    top = process or psutil.Process()
    found = {}
    for member in [top, *top.children(recursive=True)]:
        try:
            for connection in member.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = connection.laddr.ip
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return found


def all_loopback(found: dict[int, str]) -> bool:
    return all(ipaddress.ip_address(address).is_loopback for address in found.values())
