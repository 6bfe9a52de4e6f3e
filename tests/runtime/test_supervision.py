"""Guards, the supervisor of long-lived tasks, and the logger that never raises."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import routesock
from routesock._runtime import supervision
from routesock._runtime.supervision import (
    FIRST_RESTART,
    LAST_RESTART,
    Guard,
    Supervisor,
    backoff,
    plain_task,
    safe_logger,
)
from tests.clock import advance, shifted
from tests.takeover.driver import until

ANY = [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), StopIteration()]


def ids(exc: BaseException) -> str:
    return type(exc).__name__


class Broken(logging.Handler):
    """A handler of a project, which raises."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise ConnectionError("The log server is down.")


@pytest.fixture
def broken_handler() -> Iterator[None]:
    handler = Broken()
    logging.getLogger("routesock.socket").addHandler(handler)
    yield
    logging.getLogger("routesock.socket").removeHandler(handler)


class TestGuard:
    @pytest.mark.parametrize("exc", ANY, ids=ids)
    async def test_one_that_raises_costs_only_itself(
        self, exc: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        guard, served = Guard("A look at a number"), []
        for number in range(4):
            with guard:
                if number == 1:
                    raise exc
                served.append(number)
        assert served == [0, 2, 3]
        (record,) = caplog.records
        assert record.getMessage() == "A look at a number failed."
        assert record.exc_info is not None
        assert record.exc_info[1] is exc

    def test_without_a_loop_too(self, caplog: pytest.LogCaptureFixture) -> None:
        with Guard("Something"):
            raise SystemExit
        assert len(caplog.records) == 1

    async def test_cancellation_of_the_task_itself_is_raised(self, caplog: pytest.LogCaptureFixture) -> None:
        async def serve() -> None:
            while True:
                with Guard("Something"):
                    await asyncio.Event().wait()

        task = asyncio.ensure_future(serve())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert caplog.records == []

    def test_coroutine_that_is_thrown_away_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        async def serve() -> None:
            with Guard("Something"):
                await asyncio.sleep(1)

        async def begin() -> Any:
            coroutine = serve()
            coroutine.send(None)
            return coroutine

        loop = asyncio.new_event_loop()
        coroutine = loop.run_until_complete(begin())
        loop.close()
        coroutine.close()
        assert caplog.records == []


class TestSafeLogger:
    def test_record_names_the_place_of_the_call(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "routesock")
        logger = safe_logger("routesock.socket")
        logger.info("one %s", 1)
        logger.log(logging.INFO, "two", extra={"number": 2})
        try:
            raise ValueError
        except ValueError:
            logger.exception("three")
        assert {record.pathname for record in caplog.records} == {__file__}
        assert [record.getMessage() for record in caplog.records] == ["one 1", "two", "three"]
        assert caplog.records[1].number == 2  # type: ignore[attr-defined]
        assert caplog.records[2].exc_info

    @pytest.mark.usefixtures("broken_handler")
    def test_handler_that_raises_is_printed_and_goes_no_further(self, capsys: pytest.CaptureFixture[str]) -> None:
        safe_logger("routesock.socket").error("something")
        assert "The log server is down." in capsys.readouterr().err

    @pytest.mark.usefixtures("broken_handler")
    def test_handler_that_raises_may_have_closed_the_stream(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = io.StringIO()
        stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        safe_logger("routesock.socket").error("something")

    def test_every_logger_is_one(self) -> None:
        """But for receivers of signals, which are logged as Django logs its own and guarded there, and the client.

        That is no part of a server, and imports nothing of one.
        """
        package = Path(routesock.__file__).parent
        sources = {path: path.read_text() for path in package.rglob("*.py") if path.parent != package / "client"}
        plain = {path.name for path, text in sources.items() if "logging.getLogger(" in text}
        assert plain == {"supervision.py", "signals.py"}

    @pytest.mark.usefixtures("broken_handler")
    async def test_guard_holds_with_a_handler_that_raises(self) -> None:
        with Guard("Something"):
            raise ValueError


def test_backoff_doubles_up_to_its_limit_and_differs_between_processes() -> None:
    first, second = ([*islice(backoff(1, 8), 6)] for _ in range(2))
    assert first != second
    for pauses in (first, second):
        for pause, longest in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
            assert longest / 2 <= pause <= longest


class Worker:
    """A coroutine that a test lets fail, and how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self.begun += 1
        self.outcome = asyncio.get_running_loop().create_future()
        await self.outcome

    async def fail(self, exc: BaseException) -> None:
        self.outcome.set_exception(exc)
        await advance(0)


def supervisor(run: Callable[[], Any]) -> Supervisor:
    return Supervisor("The worker", run, asyncio.get_running_loop())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "routesock.socket"]


class TestSupervisor:
    @pytest.mark.parametrize("exc", [ValueError("x"), SystemExit(3), KeyboardInterrupt()], ids=ids)
    def test_task_that_fails_is_logged_and_started_again(
        self, exc: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        @shifted
        async def test() -> None:
            worker = Worker()
            supervised = supervisor(worker.run)
            supervised.start()
            await advance(0)
            await worker.fail(exc)
            assert worker.begun == 1
            assert supervised.is_running  # it is about to be
            supervised.start()  # and a start in between does not skip the pause
            await advance(0)
            assert worker.begun == 1
            await advance(FIRST_RESTART)
            assert worker.begun == 2
            await supervised.end()

        test()
        (record,) = [record for record in caplog.records if record.name == "routesock.socket"]
        assert record.getMessage().startswith("The worker failed. It is started again in 0.")
        assert record.exc_info is not None
        assert record.exc_info[1] is not None
        assert exc in (record.exc_info[1], record.exc_info[1].__cause__)

    @shifted
    async def test_task_that_other_code_cancels_is_started_again(self, caplog: pytest.LogCaptureFixture) -> None:
        worker = Worker()
        supervised = supervisor(worker.run)
        for turns in (0, 1):  # before its first step, and while it waits
            before = asyncio.all_tasks()
            supervised.start()
            await asyncio.sleep(0) if turns else None
            (task,) = asyncio.all_tasks() - before
            task.cancel()
            await advance(0)
            assert supervised.is_running
            await advance(2 * FIRST_RESTART)
            assert messages(caplog) == ["The worker was cancelled by other code. It is started again."] * (turns + 1)
            assert worker.begun == 1 + 2 * turns
            worker.outcome.set_result(None)
            await advance(0)

        await supervised.end()

    @shifted
    async def test_task_that_returns_is_started_by_the_next_start_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        worker = Worker()
        supervised = supervisor(worker.run)
        for begun in (1, 2):
            supervised.start()
            supervised.start()
            await advance(0)
            assert worker.begun == begun
            worker.outcome.set_result(None)
            await advance(LAST_RESTART)
            assert not supervised.is_running
        assert worker.begun == 2
        assert messages(caplog) == []

    @shifted
    async def test_start_right_after_the_return_is_not_lost(self) -> None:
        """Work may come between the task's last step and the loop's next turn."""
        begun: list[int] = []

        async def run() -> None:
            begun.append(1)

        supervised = supervisor(run)
        supervised.start()
        await until(lambda: begun)
        supervised.start()
        await advance(0)
        assert len(begun) == 2

    @pytest.mark.parametrize("state", ["unused", "running", "pausing", "cancelled", "returned"])
    def test_nothing_is_started_after_the_end(self, state: str, caplog: pytest.LogCaptureFixture) -> None:
        @shifted
        async def test() -> None:
            worker = Worker()
            supervised = supervisor(worker.run)
            before = asyncio.all_tasks()
            if state != "unused":
                supervised.start()
                await advance(0)
            if state == "pausing":
                await worker.fail(ValueError("x"))
            elif state == "cancelled":
                (asyncio.all_tasks() - before).pop().cancel()
            elif state == "returned":
                worker.outcome.set_result(None)
                await advance(0)
            begun = worker.begun
            await supervised.end()
            supervised.start()
            await advance(10 * LAST_RESTART)
            assert worker.begun == begun
            assert not supervised.is_running
            assert asyncio.all_tasks() == before

        test()
        assert len(messages(caplog)) == (state == "pausing")

    @shifted
    async def test_pauses_grow_to_a_limit_and_start_anew_after_a_long_life(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("random.uniform", lambda least, most: most)
        worker = Worker()
        supervised = supervisor(worker.run)
        supervised.start()
        await advance(0)
        pauses = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        for pause in pauses:
            await worker.fail(ValueError("x"))
            await advance(pause + 0.01)
        await advance(LAST_RESTART + 1)
        await worker.fail(ValueError("x"))
        assert messages(caplog) == [
            f"The worker failed. It is started again in {pause} s." for pause in [*pauses, FIRST_RESTART]
        ]
        await supervised.end()

    async def test_constants_can_be_changed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervision, "FIRST_RESTART", 0.0)
        worker = Worker()
        supervised = supervisor(worker.run)
        supervised.start()
        await asyncio.sleep(0)
        worker.outcome.set_exception(ValueError())
        await until(lambda: worker.begun == 2)
        await supervised.end()

    async def test_task_has_an_empty_context_and_no_task_factory(self) -> None:
        """It outlives the socket that starts it, and a factory may be eager or not know the argument ``context``."""
        loop = asyncio.get_running_loop()
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
        variable.set(1)
        seen: list[int] = []

        async def run() -> None:
            seen.append(variable.get())

        def factory(loop: Any, coroutine: Any) -> Any:
            raise AssertionError("The factory was used.")

        loop.set_task_factory(factory)
        try:
            supervised = supervisor(run)
            supervised.start()
            assert seen == []  # it is not eager
            task = plain_task(run(), loop)
        finally:
            loop.set_task_factory(None)
        await task
        await asyncio.sleep(0)
        assert seen == [0, 0]

    @pytest.mark.usefixtures("broken_handler")
    @shifted
    async def test_restart_does_not_depend_on_the_log(self) -> None:
        worker = Worker()
        supervised = supervisor(worker.run)
        supervised.start()
        await advance(0)
        await worker.fail(ValueError("x"))
        await advance(FIRST_RESTART)
        assert worker.begun == 2
        await supervised.end()

    def test_loop_that_shuts_down_starts_nothing_and_logs_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        async def begin() -> Worker:
            worker = Worker()
            supervisor(worker.run).start()
            await asyncio.sleep(0)
            return worker

        worker = asyncio.run(begin())
        assert worker.begun == 1
        assert messages(caplog) == []
