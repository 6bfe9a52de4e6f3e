"""Somebody who posts the forms of the example, without a browser."""

from __future__ import annotations

from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

from tests.servers import ANSWER_WITHIN, Server


class Visitor:
    """A browser's cookies, and the forms of the example that it posts."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cookies = CookieJar()
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self._cookies))

    def cookie(self, name: str) -> str:
        return next(cookie.value or "" for cookie in self._cookies if cookie.name == name)

    def log_in(self, username: str, password: str) -> str:
        """What to send as ``Cookie`` header from then on."""
        self.visit("/accounts/login/")
        self.visit("/accounts/login/", {"username": username, "password": password})
        return f"sessionid={self.cookie('sessionid')}"

    def log_out(self) -> None:
        self.visit("/accounts/logout/", {})

    def visit(self, path: str, form: dict[str, str] | None = None) -> None:
        data = None
        if form is not None:
            data = urlencode({**form, "csrfmiddlewaretoken": self.cookie("csrftoken")}).encode()
        self._opener.open(f"{self._server.base_url}{path}", data, timeout=ANSWER_WITHIN).close()
