"""Texts of concurrent requests with the same model and parameters share calls.

With no call of its kind under way a text goes at once. Else texts gather: until no more come for a moment, within a
small window, or for as long as the pacer makes their call wait anyway; then a call takes as many as the model takes,
its callers in turn. Equal texts on their way are sent once.

A text that Bedrock refuses must hurt only its owners: a refused call is cut into halves, down to the one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from embedrock.errors import BadRequest, ContextTooLong, EmbedrockError, InternalError
from embedrock.service.checks import MAX_CALL_BYTES, json_bytes
from embedrock.service.turns import served
from embedrock.service.ways import Way

#: A text waits this long for others, and for theirs in turn, but no text longer than the window.
LULL_S: Final = 0.002
WINDOW_S: Final = 0.010
_OF_A_TEXT: Final = (BadRequest, ContextTooLong)  # refusals that smaller calls can do something about; not their kinds


class Part(NamedTuple):
    """One text's part of a call: its vector's JSON array, checked; its tokens, and whether AWS counted them."""

    vector: bytes
    tokens: int
    reported: bool
    region: str


#: Makes one call with texts, on a way whose pacer gave a start for it, and returns a part each; or raises
#: EmbedrockError.
Send = Callable[[Sequence[str], Way], Awaitable[list[Part]]]


class _Slot:
    """One text on its way, and how many wait for it."""

    __slots__ = ("call", "caller", "done", "owners", "shares", "text")

    def __init__(self, text: str, caller: str) -> None:
        self.text = text
        self.caller = caller
        self.done: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_seen)
        self.owners = 0
        self.call: _Call | None = None  # that carries it
        self.shares: list[int] = []  # what each owner is told of the tokens; together they are all of them

    def finish(self, part: Part) -> None:
        owners = max(1, self.owners)
        each, rest = divmod(part.tokens, owners)
        self.shares = [each] * (owners - rest) + [each + 1] * rest
        if not self.done.done():
            self.done.set_result(part)

    async def part(self) -> Part:
        # Shielded: one owner who hangs up does not take it from the others.
        try:
            return (await asyncio.shield(self.done))._replace(tokens=self.shares.pop())
        except EmbedrockError as exc:
            raise _own(exc) from exc.__cause__  # each owner names its own parameter in it


class _Call(NamedTuple):
    """A call under way."""

    task: asyncio.Task[None] | None
    slots: Sequence[_Slot]

    def end_if_for_nobody(self) -> None:
        if self.task is not None and not any(slot.owners and not slot.done.done() for slot in self.slots):
            self.task.cancel()


class Coalescer:
    """Fills the calls of one kind: same place, model, parameters and headers. `most` texts go into a call.

    `start` returns when a pacer lets a call go, and its way.
    """

    def __init__(self, send: Send, start: Callable[[], Awaitable[Way]], most: int) -> None:
        self._send = send
        self._start = start
        self._most = most
        self._lines: OrderedDict[str, OrderedDict[_Slot, None]] = OrderedDict()  # texts that wait, by caller
        self._waiting = 0
        self._on_their_way: dict[str, _Slot] = {}
        self.calls = 0  # under way, also those of requests that fill a call alone
        self._filling: asyncio.Task[None] | None = None  # waits for the pacer; texts still get in
        self._lull: asyncio.TimerHandle | None = None
        self._window_ends = 0.0  # in the loop's time, while there is a lull to wait for
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """Whether no call is under way or about to be: a request then has nobody to share with."""
        return not (self.calls or self._waiting)

    async def embed(self, texts: Sequence[str], caller: str) -> AsyncGenerator[Part]:
        """Yield the parts of `texts`, in order; raise what a call of the text whose turn it is would raise."""
        slots = [self._slot(text, caller) for text in texts]
        self._go(more=True)
        try:
            for slot in slots:
                yield await slot.part()
        finally:
            for slot in slots:
                slot.owners -= 1
                if not slot.owners:
                    self._drop(slot)

    def calls_before(self, caller: str, texts: int) -> int:
        """Return how many calls go before the one that takes the last of so many more texts of a caller."""
        if not self._waiting:
            return 0
        return served({name: len(line) for name, line in self._lines.items()}, caller, texts) // self._most

    def ended(self) -> None:
        """A call that was counted in `calls` is over."""
        self.calls -= 1
        self._go()

    def _slot(self, text: str, caller: str) -> _Slot:
        slot = self._on_their_way.get(text)
        if slot is None or slot.owners == 0 or slot.done.done():
            slot = self._on_their_way[text] = _Slot(text, caller)
            self._lines.setdefault(caller, OrderedDict())[slot] = None
            self._waiting += 1
        slot.owners += 1
        return slot

    def _go(self, *, more: bool = False) -> None:
        """Begin to fill a call: now, if none is under way or one is full already; else when no more texts come."""
        if not self._waiting or self._filling is not None:
            return
        if not self.calls or self._waiting >= self._most:
            self._fill()
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._lull is None:
            self._window_ends = now + WINDOW_S
        elif more:
            self._lull.cancel()
        else:
            return
        self._lull = loop.call_at(min(now + LULL_S, self._window_ends), self._fill)

    def _fill(self) -> None:
        if self._lull is not None:
            self._lull.cancel()
            self._lull = None
        if self._waiting and self._filling is None:
            self._filling = asyncio.get_running_loop().create_task(self._call())
            self._tasks.add(self._filling)
            self._filling.add_done_callback(self._tasks.discard)

    async def _call(self) -> None:
        slots: list[_Slot] = []
        self.calls += 1
        try:
            try:
                way = await self._start()
            finally:  # whatever came of it: these texts go with it, and the next call may be filled
                task, self._filling = self._filling, None
                slots = self._take()
                self._go()
            for slot in slots:
                slot.call = _Call(task, slots)
            if slots:
                await self._embed(slots, way)
            else:
                way.pacer.give_back(0)
        except EmbedrockError as exc:
            self._fail(slots, exc)
        finally:
            self._fail(slots, InternalError("The call that carried this text broke."))  # nobody may wait for ever
            self.ended()

    async def _embed(self, slots: Sequence[_Slot], way: Way) -> None:
        try:
            parts = await self._send([slot.text for slot in slots], way)
        except EmbedrockError as exc:
            if len(slots) == 1 or type(exc) not in _OF_A_TEXT:
                self._fail(slots, exc)
                return
            half = len(slots) // 2
            for some in (slots[:half], slots[half:]):
                await self._embed_again([slot for slot in some if slot.owners])
        else:
            for slot, part in list(zip(slots, parts, strict=True)):
                self._leave(slot)
                slot.finish(part)

    async def _embed_again(self, slots: Sequence[_Slot]) -> None:
        if not slots:
            return
        try:
            way = await self._start()
        except EmbedrockError as exc:
            self._fail(slots, exc)
        else:
            await self._embed(slots, way)

    def _take(self) -> list[_Slot]:
        """Return the texts of a call: a text a caller in turn, as many as the model and a body take."""
        taken: list[_Slot] = []
        size = 0
        while self._lines and len(taken) < self._most:
            caller, line = next(iter(self._lines.items()))
            slot = next(iter(line))
            size += json_bytes(slot.text)
            if taken and size > MAX_CALL_BYTES:
                break
            taken.append(slot)
            self._lines.move_to_end(caller)
            self._leave_line(slot)
        return taken

    def _drop(self, slot: _Slot) -> None:
        """Nobody waits for a text any more: it does not go; a call that has gone only for such is given up."""
        if slot.done.done():
            return
        if slot.call is None:
            self._leave_line(slot)
            self._leave(slot)
        else:
            slot.call.end_if_for_nobody()

    def _leave_line(self, slot: _Slot) -> None:
        line = self._lines[slot.caller]
        del line[slot]
        self._waiting -= 1
        if not line:
            del self._lines[slot.caller]

    def _fail(self, slots: Sequence[_Slot], error: EmbedrockError) -> None:
        """Tell who still waits for one of the texts."""
        for slot in slots:
            self._leave(slot)
            if not slot.done.done():
                slot.done.set_exception(_own(error))

    def _leave(self, slot: _Slot) -> None:
        if self._on_their_way.get(slot.text) is slot:
            del self._on_their_way[slot.text]


def _own(error: EmbedrockError) -> EmbedrockError:
    """Return the error anew: it is raised in several places, and changed there."""
    own = type(error).__new__(type(error))
    own.__dict__.update(error.__dict__)
    own.args = error.args
    own.__cause__ = error.__cause__
    return own


def _seen(future: asyncio.Future[Part]) -> None:
    """Nobody may be left to look at a failure; that is no mistake."""
    if not future.cancelled():
        future.exception()
