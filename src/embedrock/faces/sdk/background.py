"""One event loop for the process, in a thread of its own, on which all engines live.

So callers of any thread, and of any event loop, share connections; and one that waits in vain can be let go. It starts
with the first call and ends with the process. A child that was forked starts its own: the parent's thread is not in
it, and the parent's sockets are not its to touch.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from embedrock.faces.sdk.engines import Engines

T = TypeVar("T")
Job = Callable[[Engines], Coroutine[Any, Any, T]]

_CLOSE_S: Final = 5.0


class _Background:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._engines = Engines()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedrock", daemon=True)
        self._thread.start()

    def submit(self, job: Job[T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(job(self._engines), self._loop)

    def close(self) -> None:
        """Cancel what runs, close what is open, and end the thread."""
        with contextlib.suppress(TimeoutError):  # the process ends anyway
            asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result(_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _wind_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engines.close()
        for _ in range(3):  # a connection that is dropped closes its socket in the loop's next turns
            await asyncio.sleep(0)


_lock = threading.Lock()
_running: _Background | None = None
_of_the_parent: list[_Background | None] = []  # kept: what is collected would be closed, and it is shared


def run(job: Job[T]) -> T:
    """Return what `job` returns; blocks."""
    future = _background().submit(job)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # interrupted, perhaps: nobody waits any more
        raise


async def wait(job: Job[T]) -> T:
    """Return what `job` returns. To cancel this is to cancel the job."""
    return await asyncio.wrap_future(_background().submit(job))


def _background() -> _Background:
    global _running  # one a process is the point
    with _lock:
        if _running is None:
            _running = _Background()
        return _running


@atexit.register
def _close() -> None:
    global _running
    with _lock:
        running, _running = _running, None
    if running is not None:
        running.close()


def _forget_the_parents() -> None:
    global _lock, _running
    _lock = threading.Lock()  # somebody may have held it
    _of_the_parent.append(_running)
    _running = None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_the_parents)
