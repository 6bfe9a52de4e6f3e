"""The reply headers ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .base import MICROSECONDS, Quota, Window


class Fields:
    """The two headers for the windows of one route. Names that come twice are numbered."""

    def __init__(self, windows: Iterable[Window]) -> None:
        named: dict[str, Window] = {}
        for window in windows:
            again = 2
            name = window.name
            while name in named:
                name = f"{window.name} {again}"
                again += 1
            named[name] = window
        self._names = tuple(named)
        # The period as if it were whole seconds, since that is all that the header can say.
        pairs = [f'"{name}";q={window.limit};w={_seconds(window.period)}' for name, window in named.items()]
        self._policy = ", ".join(pairs)

    def of(self, quotas: Sequence[Quota]) -> Mapping[str, str]:
        """Both headers; only the policy where it is not known what is left."""
        if not quotas:
            return {"RateLimit-Policy": self._policy}
        pairs = zip(self._names, quotas, strict=True)
        left = ", ".join(f'"{name}";r={remaining};t={_seconds(reset)}' for name, (remaining, reset) in pairs)
        return {"RateLimit-Policy": self._policy, "RateLimit": left}


def _seconds(microseconds: int) -> int:
    return -(-microseconds // MICROSECONDS)
