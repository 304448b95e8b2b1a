"""An event loop whose time stands still while anything can run, and jumps to the next timer when nothing can."""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

_A_STEP_S = 1e-9  # what running takes, so that no timer can fire for ever at one time


class _Jump(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nothing will ever come"
        self.now += max(timeout, _A_STEP_S)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self._jump.now


def run(main: Callable[[], Coroutine[Any, Any, T]], *, breaks: type[Exception] | None = None) -> T:
    """Run `main` to its end in virtual time, which is also what `time.monotonic` tells meanwhile.

    No task may be left behind then, and nothing may have failed unseen; but something with the exception `breaks`,
    where that is given.
    """

    async def watched() -> T:
        result = await main()
        for _ in range(5):
            await asyncio.sleep(0)  # what is over may say so
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    loop = _Loop()
    with patch("time.monotonic", loop.time), asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(watched())
    gc.collect(1)  # a failure that nobody looked at is told when its task goes
    if breaks is not None:
        assert loop.failures, "nothing broke"
        assert {type(failure.get("exception")) for failure in loop.failures} == {breaks}
    else:
        assert not loop.failures, loop.failures
    return result
