"""Where the server listens, and by what names it may be called."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Final

from ..errors import UserError

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free. Raises UserError where that cannot be."""
    if not 0 <= port <= 65_535:
        raise UserError(f"--port {port} is outside 0 to 65535")
    try:
        # Told to the user as it is: no name but one that this machine has can be bound.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UserError(f"--host {host!r} is no address; such as 127.0.0.1, or 0.0.0.0 for all networks") from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        if error.errno in (98, 48, 10048):  # in use, by the numbers of Linux, macOS and Windows
            raise UserError(
                f"port {port} of {host} is taken; --port with another number, or 0 for any free one"
            ) from None
        raise UserError(f"{host}:{port} cannot be listened on ({error.strerror}); --host 127.0.0.1 can") from None
    return opened


def url_of(host: str, port: int) -> str:
    """The address for a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def host_check(host: str, port: int) -> Callable[[str], bool]:
    """Whether a Host header names this server, which listens on `host` and `port`.

    On all networks (0.0.0.0, ::) that is any address, which no DNS is asked for, and this machine's own name.
    """
    loopback, everywhere = _is("is_loopback", host) or host == "localhost", _is("is_unspecified", host) or not host
    names = {host.lower()}
    if loopback or everywhere:
        names |= {"localhost", "127.0.0.1", "::1"}
    if everywhere:
        names |= {socket.gethostname().lower()}

    def is_ours(header: str) -> bool:
        found = _HOST.fullmatch(header)
        if found is None or int(found[2] or 80) != port:
            return False
        name = found[1].strip("[]").lower()
        return name in names or (everywhere and _is("version", name))

    return is_ours


def _is(what: str, host: str) -> bool:
    """A property of an address; false of a name."""
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
