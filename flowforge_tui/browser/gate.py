"""Who may come in: every request is judged here before anything is done for it.

Rule 1: the name in Host must be one of ours. A page whose own name was made to point at this
        machine (DNS rebinding) sends its own name. The port may differ: `ssh -L` changes it.
Rule 2: an Origin must be that of the page that Host names; a websocket must have one, since
        browsers let any page open a websocket anywhere and only say so in this header.
Rule 3: whoever comes must know the token, which only the printed address and our cookie have.
        It is compared in constant time.
"""

from __future__ import annotations

import hmac
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

#: `name`, `name:port`, `[address]:port`.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(?::[0-9]{1,5})?")

#: Names of this machine that nobody else's page can have.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Gate:
    """Judges requests to one server."""

    def __init__(self, host: str, *, token: str | None = None) -> None:
        """`host` is what the server listens on; `token` is made if none is given."""
        self.token = token or secrets.token_urlsafe(32)
        self.names = frozenset(name.lower() for name in _names(host))

    def refusal(
        self, headers: Mapping[str, str], tokens: Iterable[str | None], *,
        local: str | None = None, websocket: bool = False,
    ) -> str | None:
        """Why a request is refused, in words for the person; None: it may come in.

        `tokens` are those that it shows; `local` is the address that it came in at.
        """
        host = headers.get("Host", "").lower()
        if not self._is_ours(host, local):
            return "this server is not known by the name in the request"
        origin = headers.get("Origin")
        if origin is None and websocket:
            return "a websocket needs an Origin"
        if origin is not None and origin.lower() != f"http://{host}":
            return "the request comes from another site's page"
        if not any(self._is_token(token) for token in tokens if token is not None):
            return "open the address that `flowforge serve` printed; it holds the token"
        return None

    def _is_ours(self, host: str, local: str | None) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").rstrip(".")
        # An address is no name that could be made to point here: who connected to it, meant it.
        return name in self.names or (local is not None and name == local.lower())

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.token.encode())


def _names(host: str) -> Iterable[str]:
    yield from _LOOPBACK
    yield host
    if not is_loopback(host):
        yield socket.gethostname()


def is_loopback(host: str) -> bool:
    """True if only this machine can reach a server that listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_everywhere(host: str) -> bool:
    """True if a server that listens there can be reached at all of this machine's addresses."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def origin_of(host: str, port: int) -> str:
    """`http://…` of a server, as it is typed into a browser on the same network."""
    name = socket.gethostname() if is_everywhere(host) else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
