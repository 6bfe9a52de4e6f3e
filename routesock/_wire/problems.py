"""Converts exceptions into the errors that a client gets, and limits the size of their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from django.conf import settings as django_settings
from django.utils.functional import Promise

from .. import conf
from ..exceptions import BadRequest, Invalid, NotFound, PermissionDenied, RoutesockError
from ..typing import UNSET
from .camel_case import FieldPath
from .codec import encode

MAX_ERRORS: Final = 20

MAX_NAME_CHARS: Final = 64

MAX_PATH_CHARS: Final = 128

MAX_PATH_SIZE: Final = 512
"""Bytes of JSON, so that a path and one message always fit."""

MAX_MESSAGE_CHARS: Final = 200

MAX_ERRORS_SIZE: Final = 3_000
"""Bytes of JSON. With an id and a route of 128 ASCII characters, an error reply stays below 4 KiB."""


def error_of(exc: BaseException) -> RoutesockError | None:
    """Return the error that ``exc`` means to the client, or ``None`` if ``exc`` is a bug of the server.

    Knows the exceptions of routesock, Django, marshmallow and DRF.
    """
    if isinstance(exc, RoutesockError):
        return exc
    for cls in type(exc).__mro__:
        convert = _CONVERTERS.get(f"{cls.__module__}.{cls.__qualname__}")
        if convert is not None:
            return convert(exc)
    return _error_of_group(exc) if isinstance(exc, BaseExceptionGroup) else None


def _error_of_group(group: BaseExceptionGroup[BaseException]) -> RoutesockError | None:
    """Return the first error of a group, as a task group raises it, if all of them have one status."""
    errors = [error_of(exc) for exc in group.exceptions]
    first = errors[0]
    if first is not None and all(error is not None and error.status == first.status for error in errors):
        return first
    return None


WHOLE: Final = "__all__"
"""The path of messages about the payload as a whole, as in Django."""

Path = tuple[Any, ...]
"""The names and list indices from the payload to a value. ``()`` is the payload as a whole."""


def invalid(errors: Any, found: Iterable[tuple[Path, Any]] | None = None) -> Invalid:
    """Return the error for a payload that a schema rejected, with the status ``VALIDATION_STATUS``.

    Args:
        errors: What the library reports, in its own shape.
        found: The messages with their paths, for a library whose own shape does not have the paths.
    """
    error = Invalid(status=conf.get("VALIDATION_STATUS"), errors=shaped(errors, found))
    error.native_errors = errors
    return error


def shaped(errors: Any, found: Iterable[tuple[Path, Any]] | None = None) -> Any:
    """Return the ``errors`` of a problem object in the shape that ``VALIDATION_ERRORS`` names, :func:`bounded`."""
    if conf.get("VALIDATION_ERRORS") == "native":
        return bounded(errors)
    return bounded(_flat(_found(errors, (), _whole_keys()) if found is None else found))


def _whole_keys() -> tuple[str, ...]:
    """Return the keys of Django, marshmallow and DRF for messages about an object as a whole."""
    rest_framework = getattr(django_settings, "REST_FRAMEWORK", None) or {}
    return (WHOLE, "_schema", rest_framework.get("NON_FIELD_ERRORS_KEY", "non_field_errors"))


def _flat(found: Iterable[tuple[Path, Any]]) -> dict[str, list[str]]:
    """Return the first 20 messages by path, and the number of the others under ``"..."``.

    Of two long paths that begin alike, the messages of the second are only counted.
    """
    messages: dict[str, list[str]] = {}
    paths: dict[str, Path] = {}
    kept = left_out = 0
    for path, message in found:
        if isinstance(message, _Rest):
            left_out += message.left_out
        elif kept == MAX_ERRORS or paths.setdefault(text := _path(path), path) != path:
            left_out += 1
        else:
            messages.setdefault(text, []).append(str(message))
            kept += 1
    if left_out:
        messages.setdefault("...", []).append(_Rest(left_out))
    return messages


def _found(errors: Any, path: Path, whole: tuple[str, ...]) -> Iterator[tuple[Path, Any]]:
    """Yield each message in ``errors`` with its path, in order."""
    if isinstance(errors, dict):
        if _is_entry(errors) and isinstance(errors.get("loc"), list | tuple):
            yield (*path, *errors["loc"]), errors["msg"]
            return
        for name, value in errors.items():
            yield from _found(value, path if name in whole else (*path, name), whole)
    elif isinstance(errors, list | tuple):
        for index, value in enumerate(errors):
            nested = isinstance(value, dict | list | tuple) and not _is_entry(value)
            yield from _found(value, (*path, index) if nested else path, whole)
    else:
        yield path, errors


def _path(path: Path) -> FieldPath:
    parts = [name if isinstance(name, FieldPath) else _escaped(name) for name in path]
    return FieldPath(_cut(".".join(parts) if parts else WHOLE, MAX_PATH_CHARS, MAX_PATH_SIZE))


def _escaped(name: Any) -> str:
    r"""Return a name with ``\`` in front of each dot and backslash: ``a.b`` is two names, and ``a\.b`` is one."""
    return _name(name).replace("\\", r"\\").replace(".", r"\.")


def bounded(errors: Any, size: int = MAX_ERRORS_SIZE) -> Any:
    """Return ``errors`` cut to at most 20 messages and ``size`` bytes of JSON, with long names and texts shortened.

    Without this, a client that sends 5,000 unknown fields would get a reply of 144 KB.

    Args:
        errors: Messages by field, nested, or a list of objects with one message each under ``msg`` (pydantic).
        size: Bytes of JSON.

    Returns:
        The same shape with string keys. One more message, in an object under ``"..."``, counts those left out.
    """
    total = _count(errors)
    most = MAX_ERRORS
    while len(encode(kept := _at_most(errors, most, total))) > size and most:
        most -= 1
    return kept


_KEPT: Final = ("code", "title", "detail", "retry_after")


def fitted(problem: dict[str, Any], size: int) -> dict[str, Any]:
    """Return ``problem``, from :meth:`RoutesockError.problem`, in at most ``size`` bytes of JSON (400 or more).

    A larger problem loses its extra members; then ``detail`` and ``errors`` are cut.
    """
    if len(encode(problem)) <= size:
        return problem
    standard: dict[str, Any] = {name: problem[name] for name in _KEPT if name in problem}
    left = size - len(encode({**standard, "detail": "", "errors": ""}))
    standard["detail"] = _cut(str(standard.get("detail", "")), MAX_MESSAGE_CHARS, left // 2)
    if "errors" not in problem:
        return standard
    return {**standard, "errors": bounded(problem["errors"], left - len(encode(standard["detail"])))}


def _at_most(errors: Any, most: int, total: int) -> Any:
    """Return ``errors`` cut to ``most`` of their ``total`` messages, plus one that counts the others."""
    budget = _Budget(most)
    kept = _kept(errors, budget)
    left_out = total - (most - budget.left)
    return _with_rest(errors, kept, _Rest(left_out)) if left_out else kept


class _Rest(str):
    """The message that stands for ``left_out`` others. It has its own type, so that cutting twice counts correctly."""

    left_out: int

    def __new__(cls, left_out: int) -> _Rest:
        self = super().__new__(cls, f"{left_out} more.")
        self.left_out = left_out
        return self


class _Budget:
    """The number of messages that may still be kept."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> bool:
        taken = self.left > 0
        self.left -= taken
        return taken


def _is_entry(errors: Any) -> bool:
    """Return whether this object is one message in pydantic's form."""
    return isinstance(errors, dict) and isinstance(errors.get("msg"), str)


def _count(errors: Any) -> int:
    if _is_entry(errors):
        return _count(errors["msg"])
    if isinstance(errors, dict):
        return sum(map(_count, errors.values()))
    if isinstance(errors, list | tuple):
        return sum(map(_count, errors))
    return errors.left_out if isinstance(errors, _Rest) else 1


def _kept(errors: Any, budget: _Budget) -> Any:
    """Return ``errors`` cut to the budget; :data:`UNSET` for a message that does not fit."""
    if isinstance(errors, list | tuple):
        return _kept_in_order(errors, budget)
    if isinstance(errors, dict) and not _is_entry(errors):
        return _kept_by_name(errors, budget)
    message = errors["msg"] if isinstance(errors, dict) else errors
    if isinstance(message, _Rest) or not budget.take():
        return UNSET
    if isinstance(errors, dict):
        return {_name(name): _entry_value(value) for name, value in errors.items()}
    return _scalar(errors)


def _kept_by_name(errors: dict[Any, Any], budget: _Budget) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in errors.items():
        if not budget.left:
            break
        short = _name(name)
        if short in kept:  # two long names with the same beginning: the second is only counted
            continue
        part = _kept(value, budget)
        if part not in (UNSET, {}, []):
            kept[short] = part
    return kept


def _kept_in_order(errors: Iterable[Any], budget: _Budget) -> list[Any]:
    kept: list[Any] = []
    for value in errors:
        if not budget.left or len(kept) > MAX_ERRORS_SIZE // 4:  # even empty objects would not fit
            break
        part = _kept(value, budget)
        if part is not UNSET:  # an empty object stays: in DRF's lists the position tells which item is wrong
            kept.append(part)
    return kept


def _with_rest(errors: Any, kept: Any, rest: _Rest) -> Any:
    if isinstance(kept, dict):
        return {**kept, "...": [rest]}
    if not isinstance(errors, list | tuple):
        return rest
    if errors and _is_entry(errors[0]):
        return [*kept, {"type": "too_many_errors", "loc": [], "msg": rest}]
    return [*kept, {"...": [rest]} if errors and isinstance(errors[0], dict) else rest]


def _entry_value(value: Any) -> Any:
    return [_scalar(item) for item in value] if isinstance(value, list | tuple) else _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool) or (type(value) is int and abs(value) < 2**53):
        return value
    return _cut(str(value), MAX_MESSAGE_CHARS)


def _name(name: Any) -> str:
    return name if isinstance(name, FieldPath) else _cut(str(name), MAX_NAME_CHARS)


def _cut(text: str, chars: int, size: int = MAX_ERRORS_SIZE) -> str:
    """Return ``text`` cut to ``chars`` characters and ``size`` bytes of JSON, quotes included."""
    text = text[:chars]
    while text and len(encode(text)) > size:
        text = text[: len(text) * 3 // 4]
    return text


def _text_of(exc: Any) -> str | None:
    """Return the text that ``exc`` was raised with; ``None`` for no argument, and for one that is no text.

    A handler writes a text for the client. Anything else is data of the server's, such as the URL patterns in Django's
    ``Resolver404``.
    """
    text = exc.args[0] if exc.args else None
    return str(text) if isinstance(text, str | Promise) else None


def _not_found(exc: Any) -> RoutesockError:
    text = _text_of(exc)
    # The text of get_object_or_404 names the model.
    return NotFound(None if text is None or text.endswith(" matches the given query.") else text)


def _no_url(exc: Any) -> RoutesockError:
    return NotFound()


def _missing_object(exc: Any) -> RoutesockError:
    # Its message names the model, which is none of the client's business.
    return NotFound()


def _permission_denied(exc: Any) -> RoutesockError:
    return PermissionDenied(_text_of(exc))


def _django_invalid(exc: Any) -> RoutesockError:
    return invalid(exc.message_dict if hasattr(exc, "error_dict") else {"__all__": exc.messages})


def _marshmallow_invalid(exc: Any) -> RoutesockError:
    return invalid(exc.normalized_messages())


def _suspicious(exc: Any) -> RoutesockError:
    return BadRequest()


def _rest_framework(exc: Any) -> RoutesockError:
    """Keep DRF's status, code and field errors; ``wait`` becomes ``Retry-After``."""
    detail = exc.detail
    plain = isinstance(detail, str)
    wait = getattr(exc, "wait", None)
    error = RoutesockError(
        str(detail) if plain else str(exc.default_detail),
        status=exc.status_code,
        code=exc.detail.code if plain else exc.default_code,
        errors=None if plain else shaped(detail),
        headers=None if wait is None else {"Retry-After": int(-(-wait // 1))},
    )
    error.native_errors = None if plain else detail
    return error


_CONVERTERS: Final[dict[str, Callable[[Any], RoutesockError]]] = {
    # By name, so that no library has to be imported: an exception of a library that is not loaded cannot be raised.
    "django.core.exceptions.ObjectDoesNotExist": _missing_object,
    "django.core.exceptions.PermissionDenied": _permission_denied,
    "django.core.exceptions.SuspiciousOperation": _suspicious,
    "django.core.exceptions.ValidationError": _django_invalid,
    "django.http.response.Http404": _not_found,
    "django.urls.exceptions.Resolver404": _no_url,
    "marshmallow.exceptions.ValidationError": _marshmallow_invalid,
    "rest_framework.exceptions.APIException": _rest_framework,
}
