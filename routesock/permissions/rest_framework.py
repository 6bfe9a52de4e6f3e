"""Django REST framework's permissions, with a request and a view that they can read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.utils.datastructures import MultiValueDict
from rest_framework import permissions, request  # type: ignore[import-untyped, unused-ignore]

from .._wire.messages import Request
from ..exceptions import RouteSetupError
from .base import And, Expression, Foreign, Leaf, Not, Or, Tree, as_permission, overridden, without_cached_permissions

_NODES: Final[dict[type, type[Expression]]] = {permissions.AND: And, permissions.OR: Or, permissions.NOT: Not}


class RestFramework(Foreign):
    """A DRF permission, or a combination of them, with the HTTP method that it sees as ``request.method``.

    ``permissions=[RestFramework(IsAuthenticatedOrReadOnly, method="GET")]``. Frames have no HTTP method. Without this,
    DRF permissions see ``"POST"``, so no route counts as safe by accident.

    Args:
        permission: A DRF permission, class or instance, or a combination of them.
        method: The name of an HTTP method, in upper case.

    Raises:
        RouteSetupError: ``method`` is none, or ``permission`` is no DRF permission.
    """

    def __init__(self, permission: Any, *, method: str = "POST") -> None:
        if not isinstance(method, str) or not method.isupper():
            raise RouteSetupError(f'method= must be the name of an HTTP method, such as "GET"; got {method!r}.')
        self._permission = permission
        self._method = method

    def __repr__(self) -> str:
        return f"RestFramework({self._permission!r}, method={self._method!r})"

    @property
    def tree(self) -> Tree:
        tree = _translated(self._permission, self._method)
        if tree is None:
            raise RouteSetupError(f"{self._permission!r} is no DRF permission.")
        return tree


def tree_of(permission: Any) -> Tree | None:
    return _translated(permission, "POST")


def _translated(permission: Any, method: str) -> Tree | None:
    """The tree of a DRF permission, with routesock's operators for DRF's.

    DRF's accept any true value, and their ``~`` negates object checks that a permission does not define.
    """

    if isinstance(permission, permissions.OperandHolder | permissions.SingleOperandHolder):
        operands = [getattr(permission, name) for name in ("op1_class", "op2_class") if hasattr(permission, name)]
        node = _NODES.get(permission.operator_class)
        if node is None:  # an operator of a third party
            return _leaf(permission.operator_class, permission, method)
    else:
        operands = [getattr(permission, name) for name in ("op1", "op2") if hasattr(permission, name)]
        node = _NODES.get(type(permission))
    if node is not None:
        return node(*(_operand(operand, method) for operand in operands))
    if isinstance(permission, type) and issubclass(permission, permissions.BasePermission):
        return _leaf(permission, permission, method)
    if isinstance(permission, permissions.BasePermission):
        return _leaf(type(permission), lambda: permission, method)
    return None


def _operand(operand: Any, method: str) -> Tree:
    tree = _translated(operand, method)
    return as_permission(operand) if tree is None else tree


def _leaf(cls: Any, make: Callable[[], Any], method: str) -> Leaf:
    general, on_object = (
        overridden(cls, name, permissions.BasePermission) for name in ("has_permission", "has_object_permission")
    )
    if general is None and on_object is None:
        raise RouteSetupError(
            f"{cls.__name__} overrides neither has_permission nor has_object_permission, so it would permit everything."
        )
    return Leaf(cls.__name__, lambda attr: partial(_Adapted, make, method, attr), general, on_object)


class _Adapted:
    """A DRF permission, made for one check."""

    def __init__(self, make: Callable[[], Any], method: str, action: str) -> None:
        self._permission = make()
        self._method = method
        self._action = action

    @property
    def message(self) -> Any:
        return getattr(self._permission, "message", None)

    @property
    def code(self) -> Any:
        return getattr(self._permission, "code", None)

    def has_permission(self, socket_request: Request) -> Any:
        view = view_of(socket_request, self._method, self._action)
        return self._permission.has_permission(view.request, view)

    def has_object_permission(self, socket_request: Request, obj: Any) -> Any:
        view = view_of(socket_request, self._method, self._action)
        return self._permission.has_object_permission(view.request, view, obj)


class View:
    """The view that a DRF permission receives: attributes of an ``APIView``, and otherwise those of the consumer."""

    format_kwarg = None

    def __init__(self, consumer: Any, http: Any, action: str) -> None:
        arguments = consumer.scope.get("url_route", {})
        self.args: tuple[Any, ...] = arguments.get("args", ())
        self.kwargs: dict[str, Any] = arguments.get("kwargs", {})
        self.action: str = action
        self.request: Any = http
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def view_of(socket_request: Request, method: str, action: str) -> View:
    """The view with DRF's request; all permissions of ``socket_request`` that see the same method share it."""
    view: View | None = getattr(socket_request, "_view", None)
    if view is None or view.request.method != method:
        view = socket_request._view = View(socket_request.consumer, http_request(socket_request, method), action)
        view.request.parser_context.update(view=view, args=view.args, kwargs=view.kwargs)
    view.request._data = view.request._full_data = socket_request.data  # the validated payload, once the schema has run
    return view


def action_of(socket_request: Request) -> str:
    """The name of the handler of ``socket_request``, as a view has it in ``action``."""
    consumer: Any = socket_request.consumer
    plan = type(consumer)._routesock.plans.get(socket_request.route)
    if plan is None:  # a request that was made by hand
        return socket_request.route
    attr: str = plan.route_of(socket_request).attr
    return attr


def http_request(socket_request: Request, method: str) -> Any:
    """The handshake as a DRF request with ``method``, the payload as its data, and the socket's user."""
    scope = socket_request.scope
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    query = scope.get("query_string", b"").decode(errors="replace")
    handshake = ASGIRequest(
        {**scope, "type": "http", "method": method, "scheme": scheme, "query_string": query}, BytesIO()
    )
    if "session" in scope:
        handshake.session = scope["session"]
    http = request.Request(handshake)
    http._files = MultiValueDict()
    http.user = without_cached_permissions(socket_request.user)
    http.auth = scope.get("auth")
    return http
