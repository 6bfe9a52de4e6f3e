"""Private parts of asyncio, asgiref, Channels, Django and json: each test says what stops working when one changes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.dispatch import Signal
from django.test import TestCase, override_settings
from django.utils.functional import SimpleLazyObject

from routesock import _compat
from tests.takeover.threads import entering_async_to_sync


class TestAsyncio:
    async def test_a_current_task_can_be_left_and_entered(self) -> None:
        """Otherwise every push fails: it runs up to its first wait as a task of its own, without there being one."""
        loop, task, other = asyncio.get_running_loop(), asyncio.current_task(), object()
        _compat.leave_task(loop, task)
        _compat.enter_task(loop, other)
        during: Any = asyncio.current_task()
        _compat.leave_task(loop, other)
        _compat.enter_task(loop, task)
        assert during is other
        assert asyncio.current_task() is task


def thread() -> threading.Thread:
    return threading.current_thread()


class TestAsgiref:
    async def test_shared_thread_is_the_one_of_sync_to_async(self) -> None:
        """Otherwise stale database connections are closed in a thread that does not have them."""
        threads: list[threading.Thread] = []
        _compat.submit_to_shared_thread(lambda: threads.append(thread())).result(30)
        assert threads == [await sync_to_async(thread)()]

    async def test_shared_thread_knows_that_it_is_shared(self) -> None:
        """Otherwise a request closes the connection that another one still needs, when its time has passed."""
        assert await sync_to_async(_compat.is_shared_thread)()
        assert not _compat.is_shared_thread()
        assert not await asyncio.to_thread(_compat.is_shared_thread)

    async def test_a_cancelled_wait_leaves_the_executor_of_a_thread_behind(self) -> None:
        """Otherwise ``set_waiting_caller`` is not needed, or no longer enough: sync work fails after a CANCEL."""
        entered, go_on = threading.Event(), threading.Event()

        async def call() -> None:
            with suppress(asyncio.CancelledError):
                await sync_to_async(entering_async_to_sync)(entered, go_on)
            left_behind = _compat.waiting_caller()
            assert left_behind is not None
            _compat.set_waiting_caller(None)
            assert _compat.waiting_caller() is None
            assert await sync_to_async(thread)() is not None

        assert _compat.waiting_caller() is None
        task = asyncio.ensure_future(call())
        assert await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        go_on.set()
        await task

    async def test_a_call_of_sync_code_is_known_from_others(self) -> None:
        """Otherwise sync code that sends to a client which does not read holds the thread for all sockets."""

        async def is_sync_call() -> bool:
            return _compat.is_sync_call()

        assert await sync_to_async(async_to_sync(is_sync_call))()
        assert not await is_sync_call()

    async def test_a_call_of_another_thread_is_no_call_of_sync_code(self) -> None:
        """Otherwise a consumer's own thread sends to a client which does not read as fast as it can."""

        async def is_sync_call() -> bool:
            return _compat.is_sync_call()

        call = _compat.sync_function(is_sync_call)
        for _ in range(2):  # asgiref must not remember the loop of the calls before
            assert await sync_to_async(call)()
            assert not await asyncio.to_thread(call)

    async def test_two_tasks_of_one_context_may_wait_for_the_thread(self) -> None:
        """Otherwise a socket's requests deadlock, or fail, while another of its requests waits for the database."""
        release = threading.Event()

        async def wait() -> bool:
            _compat.clear_deadlock_mark()
            return await sync_to_async(release.wait)(5)

        async def work() -> None:
            _compat.clear_deadlock_mark()
            release.set()
            await sync_to_async(int)()

        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(wait(), context=context), loop.create_task(work(), context=context)]
        await asyncio.wait_for(asyncio.gather(*tasks), 30)

    async def test_sync_work_of_a_context_runs_in_the_thread_assigned_to_it(self) -> None:
        """Otherwise ``route_dedicated_threads`` does nothing."""
        key, context = ThreadSensitiveContext(), contextvars.copy_context()
        with ThreadPoolExecutor(1, "assigned") as executor:
            _compat.assign_thread(key, executor)
            _compat.set_thread_key(context, key)
            try:
                assert _compat.thread_key(context) is key
                assert context.run(_compat.thread_key) is key
                assert _compat.thread_key() is None
                ran_in = await asyncio.get_running_loop().create_task(sync_to_async(thread)(), context=context)
                assert ran_in.name.startswith("assigned")
            finally:
                _compat.release_thread(key)
                _compat.release_thread(key)

    async def test_thread_that_waits_in_async_to_sync_is_seen(self) -> None:
        """Otherwise sockets under Django's async tests and the blocking test client get a thread without the test's
        transaction.
        """

        async def seen() -> bool:
            return _compat.has_waiting_thread(asyncio.get_running_loop())

        assert not await seen()
        assert await asyncio.to_thread(lambda: async_to_sync(seen)())

    async def test_executor_runs_the_sync_work_of_a_loop(self) -> None:
        """Otherwise the blocking test client does not run ORM work in the thread of the test."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "waiting") as executor:
            _compat.add_waiting_thread(loop, executor)
            try:
                assert _compat.has_waiting_thread(loop)
                assert (await sync_to_async(thread)()).name.startswith("waiting")
            finally:
                _compat.remove_waiting_thread(loop)
        assert not _compat.has_waiting_thread(loop)

    async def test_executor_of_a_context_is_found(self) -> None:
        """Otherwise ``route_thread_context`` moves sync work to another thread."""
        shared = await sync_to_async(thread)()
        assert _compat.executor_for(None).submit(thread).result(30) == shared
        key, context = ThreadSensitiveContext(), contextvars.copy_context()
        _compat.set_thread_key(context, key)
        own = _compat.executor_for(key).submit(thread).result(30)
        assert own == await asyncio.get_running_loop().create_task(sync_to_async(thread)(), context=context) != shared

        async def of_loop() -> bool:
            return _compat.executor_for(None).submit(thread).result is not None

        assert await asyncio.to_thread(lambda: async_to_sync(of_loop)())

    @pytest.mark.parametrize("decorate", [sync_to_async, database_sync_to_async])
    async def test_function_inside_the_work_of_sync_to_async_can_be_replaced(self, decorate: Any) -> None:
        """Otherwise ``route_thread_context`` is entered ahead of closing stale connections, on the wrong one."""
        submitted: list[Any] = []

        class Executor:
            def submit(self, work: Any) -> Any:
                submitted.append(work)
                return SyncToAsync.single_thread_executor.submit(
                    _compat.with_function(work, lambda function: lambda: ["wrapped", function()])
                )

        key = ThreadSensitiveContext()
        token = _compat.enter_thread_key(key)
        _compat.assign_thread(key, Executor())  # type: ignore[arg-type]
        try:
            assert await decorate(divmod)(7, 2) == ["wrapped", (3, 1)]
        finally:
            _compat.reset_thread_key(token)
        assert submitted[0].args[-1].func is divmod
        assert _compat.with_function(int, lambda function: lambda: ["wrapped", function()])() == ["wrapped", 0]  # type: ignore[comparison-overlap]

    async def test_key_of_another_context_is_left_alone(self) -> None:
        """As when a coroutine is thrown away with its loop."""
        token = contextvars.copy_context().run(_compat.enter_thread_key, ThreadSensitiveContext())
        _compat.reset_thread_key(token)
        assert _compat.thread_key() is None

    async def test_notes_of_a_thread_name_its_loop(self) -> None:
        """Otherwise ``async_to_sync`` in a test waits for the loop of a blocking test client, which stands still."""
        loop = asyncio.get_running_loop()
        assert loop in (await sync_to_async(lambda: dict(_compat.thread_notes()))()).values()


class Greeting(JsonWebsocketConsumer):
    seen: Any = None

    def greeting(self, message: dict[str, Any]) -> None:
        self.seen = message, thread()


class TestChannels:
    def test_dispatch_is_the_function_inside_its_decorator(self) -> None:
        """Otherwise no message reaches a sync consumer, or each goes to another thread than its database work."""
        consumer, message = Greeting(), {"type": "greeting"}
        _compat.dispatch_in_thread(consumer, message)
        assert consumer.seen == (message, thread())

    @pytest.mark.django_db
    def test_get_user_is_the_function_inside_its_decorator(self) -> None:
        """Otherwise no login can be looked up: ``route_revalidate_interval`` and checks after a save do nothing."""
        found: Any = _compat.get_user_in_thread({"session": {}})
        assert found.is_anonymous

    async def test_redis_keeps_more_for_a_hub_than_for_a_socket(self) -> None:
        """Otherwise it keeps 100 messages for a whole process, and loses the rest of a burst."""
        layer = RedisChannelLayer()
        channel = await layer.new_channel()
        hub = _compat.hub_channel(layer, await layer.new_channel())
        valid = getattr(layer, "require_valid_channel_name", None) or layer.valid_channel_name  # as in Channels 4.1
        assert valid(hub)
        _compat.ensure_capacity(layer)
        _compat.ensure_capacity(layer)
        assert (layer.get_capacity(channel), layer.get_capacity(hub)) == (100, _compat.MIN_CAPACITY)
        assert len(layer.channel_capacity) == 1

    @pytest.mark.parametrize(
        ("config", "capacity"),
        [
            ({"capacity": 5000}, 5000),
            ({"capacity": 5}, _compat.MIN_CAPACITY),
            ({"channel_capacity": {"specific.*": 7}}, 7),
        ],
    )
    async def test_a_capacity_in_the_settings_takes_precedence(self, config: dict[str, Any], capacity: int) -> None:
        layer = RedisChannelLayer(**config)
        _compat.ensure_capacity(layer)
        assert layer.get_capacity(_compat.hub_channel(layer, await layer.new_channel())) == capacity

    async def test_other_channels_keep_their_capacity(self) -> None:
        layer = RedisChannelLayer()
        _compat.ensure_capacity(layer)
        for name in ("x.routesock", "specific.x!y.routesock.z", "specific.x!routesock"):
            assert layer.get_capacity(name) == 100

    @pytest.mark.parametrize("make", [InMemoryChannelLayer, RedisPubSubChannelLayer, object])
    async def test_other_layers_are_not_changed(self, make: Any) -> None:
        layer = make()
        _compat.ensure_capacity(layer)
        assert _compat.hub_channel(layer, "specific.x!y") == "specific.x!y"

    async def test_pub_sub_layer_keeps_the_channels_that_it_has_made(self) -> None:
        """Otherwise sockets that never read their channel leave it subscribed for ever."""
        layer = RedisPubSubChannelLayer(hosts=[])
        assert not _compat.keeps_channel(layer, "specific.x!y")
        proxied: Any = layer._get_layer()
        proxied.channels["specific.x!y"] = asyncio.Queue()
        assert _compat.keeps_channel(layer, "specific.x!y")
        assert not _compat.keeps_channel(object(), "specific.x!y")
        assert _compat.tracks_channels(layer)
        assert not _compat.tracks_channels(object())

    async def test_a_receive_of_the_core_layer_can_be_ended_without_cancelling_it(self) -> None:
        """Otherwise a socket that leaves takes along a broadcast that was just read for the whole process."""
        layer = RedisChannelLayer()
        channel = await layer.new_channel()
        assert _compat.wake_receiver(layer, channel)
        assert await layer.receive(channel) == {"type": _compat.END}
        assert channel not in layer.receive_buffer
        assert not _compat.wake_receiver(InMemoryChannelLayer(), channel)
        assert not _compat.wake_receiver(RedisPubSubChannelLayer(), channel)

    def test_the_hosts_of_a_layer_say_how_many_connections_there_may_be(self) -> None:
        """Otherwise a small pool refuses calls."""
        hosts = [{"address": "redis://redis.internal", "max_connections": 10}]
        assert _compat.max_connections(RedisChannelLayer(hosts=hosts)) == 10
        assert _compat.max_connections(InMemoryChannelLayer()) is None

    @pytest.mark.parametrize(
        ("make", "reaches"),
        [(InMemoryChannelLayer, False), (RedisChannelLayer, True), (RedisPubSubChannelLayer, True), (object, False)],
    )
    async def test_layers_of_redis_reach_other_processes(self, make: Any, reaches: bool) -> None:
        """Otherwise broadcasts stay in the process, or the in-memory layer carries each one twice."""
        assert _compat.reaches_other_processes(make()) is reaches


class TestDjango:
    @pytest.mark.django_db
    def test_connection_knows_its_thread(self) -> None:
        """Otherwise the shared thread wakes up for connections that other threads look after."""
        assert _compat.thread_of(connection) == threading.get_ident()  # type: ignore[arg-type]

    @pytest.mark.django_db(transaction=True)
    def test_transaction_of_a_test_case_is_known(self) -> None:
        """Otherwise sockets under a ``TestCase`` get a thread of their own, which does not see its data."""
        assert not _compat.is_test_case_transaction(connection)  # type: ignore[arg-type]
        with transaction.atomic():
            assert not _compat.is_test_case_transaction(connection)  # type: ignore[arg-type]
        atomics = TestCase._enter_atomics()  # type: ignore[attr-defined]
        try:
            assert _compat.is_test_case_transaction(connection)  # type: ignore[arg-type]
        finally:
            TestCase._rollback_atomics(atomics)  # type: ignore[attr-defined]

    @pytest.mark.parametrize("caching", [False, True])
    def test_receivers_of_a_signal_and_a_sender(self, caching: bool) -> None:
        """Otherwise routesock's signals are not sent."""
        signal = Signal(use_caching=caching)

        def of_all(**kwargs: Any) -> None: ...

        def of_one(**kwargs: Any) -> None: ...

        def of_another(**kwargs: Any) -> None: ...

        assert _compat.live_receivers(signal, Greeting) == []
        signal.connect(of_all)
        signal.connect(of_one, sender=Greeting)
        signal.connect(of_another, sender=User)
        for _ in range(2):
            assert _compat.live_receivers(signal, Greeting) == [of_all, of_one]
        del of_one
        assert _compat.live_receivers(signal, Greeting) == [of_all]

    def test_user_inside_a_lazy_one(self) -> None:
        """Otherwise a later request can replace the user in the scope of a socket."""
        made: list[User] = []

        def make() -> User:
            made.append(User(username="ada"))
            return made[-1]

        lazy = SimpleLazyObject(make)
        assert _compat.unwrap_lazy_user(lazy) is made[0]
        assert _compat.unwrap_lazy_user(lazy) is made[0]
        assert type(made[0]) is User
        assert len(made) == 1

    @pytest.mark.django_db
    def test_permissions_that_backends_cache_on_a_user_are_forgotten(self) -> None:
        """Otherwise a socket keeps the permissions that its user had at the first check."""
        user = User.objects.create_user("ada")
        before = {*vars(user)}
        user.has_perm("auth.add_user")
        assert {*vars(user)} > before
        _compat.forget_permissions(user)
        assert {*vars(user)} == before

    def test_settings_are_read_as_they_are_now(self) -> None:
        """Otherwise a change of ``ROUTESOCK`` has no effect, or each look at it takes ten times as long."""
        assert _compat.django_setting("NO_SUCH_SETTING", 7) == 7
        with override_settings(ROUTESOCK={"TIMEOUT": 1}):
            for _ in range(2):
                assert _compat.django_setting("ROUTESOCK", None) == {"TIMEOUT": 1}
            assert _compat._settings_read["ROUTESOCK"] == {"TIMEOUT": 1}
            with override_settings(ROUTESOCK={"TIMEOUT": 2}):
                assert _compat.django_setting("ROUTESOCK", None) == {"TIMEOUT": 2}
                django_settings.ROUTESOCK = {"TIMEOUT": 3}
                assert _compat.django_setting("ROUTESOCK", None) == {"TIMEOUT": 3}
                del django_settings.ROUTESOCK
                assert _compat.django_setting("ROUTESOCK", None) is None
            assert _compat.django_setting("ROUTESOCK", None) == {"TIMEOUT": 1}


class TestJson:
    def test_encoder_is_the_one_in_c(self) -> None:
        """Otherwise each frame sets up an encoder, which costs more than the encoding of a small one."""
        encode = _compat.c_encoder(DjangoJSONEncoder())
        assert encode is not None
        assert "".join(encode({"a": [1, None, "ż"]}, 0)) == '{"a": [1, null, "\\u017c"]}'

    def test_interpreter_without_c_accelerator_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("json.encoder.c_make_encoder", None)
        assert _compat.c_encoder(DjangoJSONEncoder()) is None

    def test_value_that_contains_itself_is_a_recursion_error(self) -> None:
        """And not a ``ValueError``, nor a crash of the interpreter."""
        value: list[Any] = []
        value.append(value)
        encode: Callable[..., Any] | None = _compat.c_encoder(DjangoJSONEncoder())
        assert encode is not None
        with pytest.raises(RecursionError):
            encode(value, 0)
