"""SIGTERM: who gets it, when, and what the sockets are told before."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest
from django.test import override_settings

from routesock._runtime import shutdown
from tests.shutdown.conftest import Calls, sigterm, turns, until


class Member:
    """A socket that ends when it is told to; without ``ends`` when it is told to hurry; ``stuck``: never."""

    def __init__(self, *, grace: float = 5.0, ends: bool = True, stuck: bool = False) -> None:
        self.grace = grace
        self.ends = ends and not stuck
        self.stuck = stuck
        self.hurried = False
        self.retry_after: float | None = None
        self.sockets = shutdown.sockets()
        self.sockets.add(self)

    def drain(self, retry_after: float) -> None:
        self.retry_after = retry_after
        if self.ends:
            self.leave()

    def end_grace(self) -> None:
        self.hurried = True
        if not self.stuck:
            self.leave()

    def leave(self) -> None:
        self.sockets.discard(self)


class TestWhoGetsTheSignal:
    async def test_server_gets_it_once_all_sockets_have_ended(self, calls: Calls) -> None:
        quick, slow = Member(), Member(ends=False)
        sigterm()
        await until(lambda: quick.retry_after and slow.retry_after)
        await turns()
        assert not calls
        slow.leave()
        await until(lambda: calls)
        assert calls == [(signal.SIGTERM, None)]

    async def test_without_sockets_server_gets_it_at_once(self, calls: Calls) -> None:
        Member().leave()
        sigterm()
        await turns()
        assert calls == [(signal.SIGTERM, None)]

    async def test_socket_beyond_the_grace_is_hurried(self, calls: Calls) -> None:
        member = Member(grace=0.01, ends=False)
        sigterm()
        await until(lambda: calls)
        assert member.hurried

    async def test_socket_that_does_not_end_at_all_is_given_up(
        self, calls: Calls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutdown, "CLOSE_LIMIT", 0.01)
        Member(grace=0.0, stuck=True)
        sigterm()
        await until(lambda: calls)

    async def test_longest_grace_counts(self, calls: Calls) -> None:
        short, long = Member(grace=0.0, ends=False), Member(grace=60.0, ends=False)
        sigterm()
        await until(lambda: short.retry_after)
        await asyncio.sleep(0.02)
        assert not calls
        short.leave()
        long.leave()
        await until(lambda: calls)
        assert not long.hurried

    async def test_second_signal_cuts_the_grace_short_and_a_third_everything(
        self, calls: Calls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutdown, "SAME_SIGNAL", -1.0)
        quick, stuck = Member(grace=60.0, ends=False), Member(grace=60.0, stuck=True)
        sigterm()
        await until(lambda: stuck.retry_after)
        assert not quick.hurried
        sigterm()
        await until(lambda: stuck.hurried)
        await turns()
        assert not calls
        sigterm()
        await until(lambda: calls)
        assert len(calls) == 1

    async def test_signal_that_comes_twice_is_one(self, calls: Calls) -> None:
        """As systemd and a parent of workers send it."""
        member = Member(ends=False)
        sigterm()
        await until(lambda: member.retry_after)
        sigterm()
        await turns()
        assert not member.hurried
        assert not calls
        member.leave()
        await until(lambda: calls)
        assert len(calls) == 1

    async def test_later_signals_are_the_servers(self, calls: Calls) -> None:
        Member()
        sigterm()
        await until(lambda: calls)
        sigterm()
        assert len(calls) == 2

    def test_exit_of_the_servers_handler_ends_the_loop(self, calls: Calls) -> None:
        """As it does when the signal reaches it directly."""

        def exits(*args: Any) -> None:
            raise SystemExit(7)

        async def serve() -> None:
            Member()
            sigterm()
            await asyncio.sleep(5)

        signal.signal(signal.SIGTERM, exits)
        with pytest.raises(SystemExit, match="7"):
            asyncio.run(serve())

    def test_signal_behind_the_loops_end_is_the_servers(self, calls: Calls) -> None:
        async def serve() -> None:
            Member()

        asyncio.run(serve())
        sigterm()
        assert len(calls) == 1

    def test_each_loop_stands_in_front_of_the_server_not_of_the_loop_before(self, calls: Calls) -> None:
        async def serve() -> Member:
            member = Member()
            sigterm()
            await turns()
            return member

        server = signal.getsignal(signal.SIGTERM)
        members = [asyncio.run(serve()) for _ in range(3)]
        handler = signal.getsignal(signal.SIGTERM)
        assert isinstance(handler, shutdown.DrainingHandler)
        assert handler.server is server
        assert len(calls) == 3
        assert all(member.retry_after for member in members)


class Failing(Member):
    """A socket that raises where it is asked ``at``."""

    def __init__(self, at: str, exc: BaseException, **options: Any) -> None:
        self._at = at
        self._exc = exc
        super().__init__(**options)

    def _raise(self, name: str) -> None:
        if name == self._at:
            raise self._exc

    @property
    def grace(self) -> float:
        self._raise("grace")
        return 0.02

    @grace.setter
    def grace(self, seconds: float) -> None:
        pass

    def drain(self, retry_after: float) -> None:
        self._raise("drain")
        super().drain(retry_after)

    def end_grace(self) -> None:
        self._raise("hurry")
        super().end_grace()


class TestSocketsThatFail:
    @pytest.mark.parametrize("exc", [ValueError("x"), SystemExit(3), asyncio.CancelledError()], ids=type)
    @pytest.mark.parametrize("at", ["grace", "drain", "hurry"])
    async def test_all_others_are_drained_and_the_server_is_called(
        self,
        at: str,
        exc: BaseException,
        calls: Calls,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(shutdown, "CLOSE_LIMIT", 0.02)
        failing = Failing(at, exc, ends=False)
        others = [Member(grace=0.02, ends=False) for _ in range(20)]
        sigterm()
        await until(lambda: calls)
        assert all(other.retry_after is not None and other.hurried for other in others)
        failing.leave()
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.getMessage() == "The shutdown of a socket failed."
        assert record.exc_info is not None
        assert record.exc_info[1] is exc


class TestWhenClientsComeBack:
    @pytest.mark.parametrize(("sockets", "last"), [(1, 2.0), (50, 2.0), (1000, 11.0), (9000, 61.0)])
    async def test_they_are_spread_over_time(self, calls: Calls, sockets: int, last: float) -> None:
        members = [Member() for _ in range(sockets)]
        sigterm()
        await until(lambda: calls)
        times = [member.retry_after or 0.0 for member in members]
        assert min(times) >= shutdown.FIRST_RETURN
        assert max(times) <= last
        assert sockets < 50 or max(times) > 0.8 * last

    async def test_socket_that_opens_during_the_drain_is_told_a_time_too(self, calls: Calls) -> None:
        member = Member(ends=False)
        sigterm()
        await until(lambda: member.retry_after)
        sockets = shutdown.sockets()
        assert sockets.draining
        assert 1.0 <= sockets.retry_after() <= 2.0
        member.leave()
        await until(lambda: calls)


class TestWhereItStandsIn:
    @pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
    async def test_server_without_a_handler_is_left_alone(self, calls: Calls, handler: signal.Handlers) -> None:
        signal.signal(signal.SIGTERM, handler)
        Member().leave()
        assert signal.getsignal(signal.SIGTERM) is handler

    async def test_setting_leaves_it_alone(self, calls: Calls) -> None:
        with override_settings(ROUTESOCK={"DRAIN_ON_SIGTERM": False}):
            member = Member()
            sigterm()
        assert calls
        assert member.retry_after is None

    async def test_other_threads_are_left_alone(self, calls: Calls) -> None:
        async def serve() -> bool:
            member = Member()
            member.leave()
            return member.sockets.draining

        handler = signal.getsignal(signal.SIGTERM)
        draining: list[bool] = []
        thread = threading.Thread(target=lambda: draining.append(asyncio.run(serve())))
        thread.start()
        thread.join()
        assert draining == [False]
        assert signal.getsignal(signal.SIGTERM) is handler

    async def test_handler_of_an_asyncio_loop_runs_at_once_and_sockets_are_told_beside_it(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        try:
            member = Member(ends=False)
            sigterm()
            await asyncio.wait_for(stopped.wait(), 30)
            await until(lambda: member.retry_after)
            member.leave()
            await turns()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
