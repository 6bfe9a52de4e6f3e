"""Any exception to the error that the client reads, of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from . import conf
from .exceptions import BadRequest, Invalid, NotFound, PermissionDenied, RoutesockError

MAX_ERRORS: Final = 20
MAX_NAME_CHARS: Final = 64
MAX_MESSAGE_CHARS: Final = 200


def error_of(exc: BaseException) -> RoutesockError | None:
    """The error that ``exc`` stands for: routesock's own, Django's, marshmallow's, DRF's; ``None``: a fault of ours."""
    if isinstance(exc, RoutesockError):
        return exc
    for cls in type(exc).__mro__:
        convert = _CONVERTERS.get(f"{cls.__module__}.{cls.__qualname__}")
        if convert is not None:
            return convert(exc)
    return None


def invalid(errors: Any) -> Invalid:
    """What a schema's refusal becomes: the configured status, ``errors`` cut to a bounded size."""
    return Invalid(status=conf.get("VALIDATION_STATUS"), errors=bounded(errors))


def bounded(errors: Any) -> Any:
    """``errors`` (messages by field, nested) with keys as strings, at most 20 messages, long names and texts cut.

    What was left out is counted under ``"..."``: a client that sends 5,000 unknown fields gets no reply of 144 KB.
    """
    budget = iter(range(MAX_ERRORS))
    kept = _kept(errors, budget)
    return kept


def _kept(errors: Any, budget: Iterator[int]) -> Any:
    if isinstance(errors, dict):
        kept: dict[str, Any] = {}
        for position, (name, value) in enumerate(errors.items()):
            if value_ := _kept(value, budget):
                kept[str(name)[:MAX_NAME_CHARS]] = value_
            else:
                kept["..."] = [f"{len(errors) - position} more."]
                break
        return kept
    if isinstance(errors, list | tuple):
        return [item for item in (_kept(value, budget) for value in errors) if item]
    if next(budget, None) is None:
        return None
    return errors if isinstance(errors, bool | int) else str(errors)[:MAX_MESSAGE_CHARS]


def _not_found(exc: Any) -> RoutesockError:
    return NotFound(str(exc.args[0]) if exc.args else None)


def _missing_object(exc: Any) -> RoutesockError:
    # Its message names the model: an attempt to look something up tells nothing about the database.
    return NotFound()


def _permission_denied(exc: Any) -> RoutesockError:
    return PermissionDenied(str(exc.args[0]) if exc.args else None)


def _django_invalid(exc: Any) -> RoutesockError:
    return invalid(exc.message_dict if hasattr(exc, "error_dict") else {"__all__": exc.messages})


def _marshmallow_invalid(exc: Any) -> RoutesockError:
    return invalid(exc.normalized_messages())


def _suspicious(exc: Any) -> RoutesockError:
    return BadRequest()


def _rest_framework(exc: Any) -> RoutesockError:
    """DRF's own status and code; field errors as DRF gives them, ``wait`` as ``Retry-After``."""
    detail = exc.detail
    plain = isinstance(detail, str)
    wait = getattr(exc, "wait", None)
    return RoutesockError(
        str(detail) if plain else str(exc.default_detail),
        status=exc.status_code,
        code=detail.code if plain else exc.default_code,
        errors=None if plain else bounded(detail),
        headers=None if wait is None else {"Retry-After": int(-(-wait // 1))},
    )


_CONVERTERS: Final[dict[str, Callable[[Any], RoutesockError]]] = {
    # By name, so that no library is imported to compare with: what is not loaded cannot have been raised.
    "django.core.exceptions.ObjectDoesNotExist": _missing_object,
    "django.core.exceptions.PermissionDenied": _permission_denied,
    "django.core.exceptions.SuspiciousOperation": _suspicious,
    "django.core.exceptions.ValidationError": _django_invalid,
    "django.http.response.Http404": _not_found,
    "marshmallow.exceptions.ValidationError": _marshmallow_invalid,
    "rest_framework.exceptions.APIException": _rest_framework,
}
