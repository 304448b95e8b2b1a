"""The one thread that writes: whatever was queued while the last commit ran is one transaction."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from embedrock.errors import StoreUnavailable
from embedrock.store.engine import Again, Doubtful, Engine, Lost, Session, Tx

_MOST: Final = 256  # works in a transaction
_PATIENCE_S: Final = 10.0  # for transactions that lose against others
_CONNECTS: Final = 2  # a connection may have died while nobody used it; a second that dies is a database that is away


class _Work(NamedTuple):
    run: Callable[[Tx], Any]
    durable: bool
    until: float  # after that nobody waits for it any more, and it is not begun
    answer: asyncio.Future[Any]


class _Outcome(NamedTuple):
    answer: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Writer:
    """Runs works in the order they come. It belongs to the loop it was made in."""

    def __init__(self, engine: Engine) -> None:
        self.commits = 0
        self._engine = engine
        self._began = math.inf  # when the transaction under way did
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._sessions: dict[bool, Session] = {}  # for what has to be durable, and for what has not
        self._thread = threading.Thread(target=self._work, name="embedrock-store-writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[Tx], Any], *, durable: bool = True) -> asyncio.Future[Any]:
        """Queue `run`; the future is done when its transaction is durable, or came to nothing.

        Raises StoreUnavailable while the database hangs: `run` would wait in vain.
        """
        now, patience_s = time.monotonic(), self._engine.patience_s or math.inf
        if now - self._began > patience_s:
            raise StoreUnavailable("The gateway's database does not answer at the moment.")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Work(run, durable, now + patience_s, answer))
        return answer

    def stop(self) -> None:
        """Wait until everything that is queued is done, and stop. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        stopping = False
        while not stopping:
            taken, stopping = self._take()
            self._began = time.monotonic()
            if works := [work for work in taken if work.until > self._began]:
                self._loop.call_soon_threadsafe(_tell, self._commit(works))
            self._began = math.inf
        for session in self._sessions.values():
            session.close()

    def _take(self) -> tuple[list[_Work], bool]:
        """Wait for something to do; return all there is, and whether it is the last."""
        works: list[_Work] = []
        work = self._queue.get()
        while work:
            works.append(work)
            if len(works) == _MOST:
                return works, False
            try:
                work = self._queue.get_nowait()
            except Empty:
                return works, False
        return works, True

    def _commit(self, works: list[_Work]) -> list[_Outcome]:
        """Return what became of each work; those that succeeded are durable."""
        durable = any(work.durable for work in works)
        until = time.monotonic() + _PATIENCE_S
        connects = 0
        while True:
            session = self._sessions.get(durable)
            try:
                if session is None:
                    connects += 1
                    session = self._sessions[durable] = self._engine.connect(durable=durable)
                session.begin()
                outcomes = _run_all(session, works)
                session.commit()
                self.commits += 1
                return outcomes
            except Again as exc:
                if session is not None:
                    session.rollback()
                if time.monotonic() > until:
                    return _failed(works, exc)
                time.sleep(random.uniform(0.001, 0.02))  # noqa: S311  # so that two do not meet again at once
            except Lost as exc:
                if session is not None:
                    session.close()
                    del self._sessions[durable]
                if connects == _CONNECTS or isinstance(exc, Doubtful):
                    return _failed(works, exc)
            except BaseException as exc:
                if session is not None:
                    session.rollback()
                return [_Outcome(work.answer, None, exc) for work in works]


def _run_all(session: Session, works: list[_Work]) -> list[_Outcome]:
    """Return what became of each work, within the transaction; one that is alone raises what it raises."""
    if len(works) == 1:
        return [_Outcome(works[0].answer, works[0].run(session), None)]
    return [_run(session, work) for work in works]


def _run(session: Session, work: _Work) -> _Outcome:
    session.mark()
    try:
        return _Outcome(work.answer, work.run(session), None)
    except (Again, Lost):
        raise
    except Exception as exc:
        session.undo()
        return _Outcome(work.answer, None, exc)


def _failed(works: list[_Work], cause: Exception) -> list[_Outcome]:
    outcomes = []
    for work in works:
        doubt = " This may have been written." if isinstance(cause, Doubtful) else ""
        error = StoreUnavailable(f"The gateway's database cannot be used at the moment.{doubt}")
        error.__cause__ = cause
        outcomes.append(_Outcome(work.answer, None, error))
    return outcomes


def _tell(outcomes: list[_Outcome]) -> None:
    for answer, value, error in outcomes:
        if answer.done():  # whoever asked has gone
            continue
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)
