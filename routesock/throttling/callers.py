"""Who calls: a user, an address or a socket."""

from __future__ import annotations

import uuid

from .. import conf
from ..addresses import client_address, customer_at
from ..messages import Scope
from .stores import Counter


class Caller:
    """One socket as throttles see it. The settings are read when it first meets one."""

    __slots__ = ("_address", "_proxies", "_scope", "_socket", "cache", "closed", "counter", "headers", "timeout")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._proxies: int = conf.get("NUM_PROXIES")
        self._address: str | None = None
        self._socket: str | None = None
        self.cache: str = conf.get("THROTTLE_CACHE")
        self.timeout: float = conf.get("THROTTLE_TIMEOUT")
        self.closed: bool = conf.get("THROTTLE_FAIL") == "closed"
        self.headers: bool = conf.get("THROTTLE_HEADERS")
        self.counter: Counter | None = None

    def user(self) -> str:
        """Who is signed in, at this moment; else the address."""
        user = self._scope.get("user")
        # "is True": on the class AnonymousUser this is a property, and so something true.
        if user is not None and getattr(user, "is_authenticated", None) is True:
            pk = getattr(user, "pk", None)
            if pk is not None:
                return f"user:{pk}"
        return self._address or self.ip()

    def ip(self) -> str:
        """The client's address or IPv6 network; else the socket, since clients without one are not one."""
        if self._address is None:
            address = client_address(self._scope, self._proxies)
            self._address = self.socket() if address is None else f"ip:{customer_at(address)}"
        return self._address

    def socket(self) -> str:
        """The socket itself."""
        if self._socket is None:
            self._socket = f"socket:{uuid.uuid4().hex}"
        return self._socket
