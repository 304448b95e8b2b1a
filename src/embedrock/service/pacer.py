"""When a call to Bedrock may start: the requests and tokens a minute of one account, region and model, and how many
calls may be in flight.

A quota that the operator names is spent to 95 %. One that nobody names is not guessed: calls go as fast as
concurrency lets them until the first throttle, which shows the rate that got through. From then on a throttle takes
15 % off the rate, or half where little got through, at most once a second; without one it grows by 4 % a second, not
more a call, and doubles each second once five have passed, and ten calls: then the quota is another than it seemed.
After a minute without a throttle it is forgotten.

Who has to wait stands in line. Half of what the buckets may save up is kept for callers with one call in line: taking
turns alone would let a caller with thousands slow down one who asks now and then.

Time is the event loop's, and nothing here sleeps: starts are handed out when a call ends or the buckets have refilled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final

from embedrock.errors import Overloaded, UpstreamThrottled
from embedrock.service.bucket import Bucket
from embedrock.service.turns import Turns, Waiting

_SHARE: Final = 0.95  # of a quota that is known
_LOWEST_RATE: Final = 0.1  # requests a second; there are quotas of 20 a minute
_LOWEST_TOKENS: Final = 500.0  # a second, a tenth of the usual quota: a call for a whole batch must not wait for hours
_FIRST_RATE: Final = 20.0  # at least, after the first throttle: at low traffic it shows little
_NO_RATE: Final = 10_000.0  # a learned rate above it is none
_SHRINK: Final = 0.85
_HALVE: Final = 0.5
_GROW: Final = 1.04  # a second, and not more a call: at a call in three seconds that would be 12 % each
_SURE_S: Final = 5.0  # so long without a throttle, and so many calls, and the rate doubles
_SURE_CALLS: Final = 10
_FORGET_S: Final = 60.0  # so long without a throttle, and what was learned is forgotten
_SEEN_S: Final = 10  # what gets through is counted over so long, where few calls do
_FEW_CALLS: Final = 5  # a second
_SHRINK_EVERY_S: Final = 1.0
_MOST_WAITING: Final = 10_000  # then those who have more than their part of it in line may not add to it
_LONGEST_APPOINTMENT_S: Final = 60.0  # what a caller can be told to wait
_TICK_S: Final = 0.001  # of uvloop's timers; the buckets save up what a tick is late


@dataclass(frozen=True, slots=True)
class Quota:
    """What Bedrock lets an account do with a model; None: not known."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def shared_by(self, processes: int) -> Quota:
        """Return one process' part of it."""
        requests, tokens = self.requests_per_minute, self.tokens_per_minute
        return Quota(requests and requests / processes, tokens and tokens / processes)


class Pacer:
    """The pace of one account, region and model. `most_in_flight` bounds concurrency."""

    def __init__(
        self,
        quota: Quota = Quota(),
        *,
        most_in_flight: int = 256,
        clock: Callable[[], float] = time.monotonic,  # frozen
    ) -> None:
        self._clock = clock
        now = self._clock()
        self.quota = quota
        self._most_in_flight = most_in_flight
        self._most_requests = quota.requests_per_minute * _SHARE / 60 if quota.requests_per_minute else inf
        self._most_tokens = quota.tokens_per_minute * _SHARE / 60 if quota.tokens_per_minute else inf
        self._requests = Bucket(self._most_requests, now) if quota.requests_per_minute else None
        self._tokens = Bucket(self._most_tokens, now) if quota.tokens_per_minute else None
        self.in_flight = 0
        self._turns = Turns()
        self._booked_until = now  # by those who were told to come back
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = now
        self._second = 0  # in which so many calls and tokens got through, and how many in those before
        self._through = [0, 0]
        self._through_before: deque[tuple[int, list[int]]] = deque(maxlen=_SEEN_S - 1)
        self._calls_since_shrunk = 0
        self._calls_since_changed = 0
        self._shrunk_at = -inf
        self._changed_at = now

    # ------------------------------------------------------------------------------------------------ starting a call

    def try_start(self, tokens: int) -> bool:
        """Start a call at once if nobody waits and the pace allows it; the usual case, without a task switch."""
        if self._turns.waiting or self.in_flight >= self._most_in_flight or self._wait_s(self._clock()) > 0:
            return False
        self._begin(tokens)
        return True

    async def start(self, tokens: int, *, caller: str = "", bulk: bool = False) -> None:
        """Return when a call of about so many tokens may start; whoever starts one must call `ended`."""
        if self.try_start(tokens):
            return
        if self.waiting >= _MOST_WAITING and self._turns.length(caller, bulk) >= _MOST_WAITING // len(self._turns):
            raise Overloaded("Too many calls wait for Bedrock's quota already.")
        waiting = Waiting(asyncio.get_running_loop().create_future(), tokens, caller, bulk)
        self._turns.join(waiting)
        self._hand_out()
        try:
            await waiting.start
        except BaseException:
            if waiting.start.done() and not waiting.start.cancelled():
                self.give_back(tokens)  # the start came, and nobody is there to use it
            else:
                self._turns.leave(waiting)
            raise

    def give_back(self, tokens: int) -> None:
        """A start that was given for `tokens` is not used: nothing was sent."""
        self.in_flight -= 1
        now = self._clock()
        if self._requests is not None:
            self._requests.spend(-1, now)
        if self._tokens is not None:
            self._tokens.spend(-tokens, now)
        if self._turns.waiting:
            self._hand_out()

    def reserve(self, tokens: int) -> None:
        """Spend more tokens on a call that was started for fewer; `ended` is told of all."""
        if self._tokens is not None:
            self._tokens.spend(tokens, self._clock())

    def ended(self, tokens: int, spent: int | None) -> None:
        """A call that was started for `tokens` is over; `spent` are the ones AWS counted, None if it did not."""
        self.in_flight -= 1
        if self._tokens is not None and spent is not None and spent != tokens:
            self._tokens.spend(spent - tokens, self._clock())
        if self._turns.waiting:
            self._hand_out()

    def projected_s(self, calls: int, tokens: int, *, caller: str = "", bulk: bool = False) -> float:
        """Return about how long it would be until the last of so many calls of a caller starts, in turn with others.

        `tokens`: of all the calls together.
        """
        if self.is_free:
            return 0.0
        seconds = 0.0
        now = self._clock()
        turn = self._turns.until(calls, caller, bulk)
        if self._requests is not None:
            seconds = (turn - self._requests.level(now)) / self._requests.per_s
        if self._tokens is not None:
            each = self._turns.tokens / self.waiting if self.waiting else tokens / calls
            before = (turn - calls) * each + tokens * (calls - 1) / calls  # the last one's own need not be there
            seconds = max(seconds, (before - self._tokens.level(now)) / self._tokens.per_s)
        return max(0.0, seconds)

    @property
    def waiting(self) -> int:
        """How many calls are in line."""
        return self._turns.waiting

    @property
    def is_free(self) -> bool:
        """Whether no quota is known, and none was met."""
        return self._requests is None and self._tokens is None

    @property
    def counts_tokens(self) -> bool:
        """Whether calls have to say about how many tokens they are."""
        return self._tokens is not None

    def admit(self, calls: int, tokens: int, deadline: float, *, caller: str = "", bulk: bool = False) -> None:
        """Raise UpstreamThrottled when so many calls could not end before `deadline`, in the clock's time."""
        projected = self.projected_s(calls, tokens, caller=caller, bulk=bulk)
        now = self._clock()
        late = now + projected - deadline
        if late > 0:
            raise UpstreamThrottled(
                f"At Bedrock's quota this request would take about {projected:.0f} s, longer than it may.",
                retry_after_s=self._appointment(now, late, calls, tokens),
            )

    def expecting(
        self, calls: int, *, caller: str = "", bulk: bool = False
    ) -> AbstractContextManager[Callable[[], None]]:
        """Expect so many calls of a request, for who wants to know how long it would take behind them.

        Yields what is called when one of them has come.
        """
        return self._turns.expecting(calls, caller, bulk)

    def _appointment(self, now: float, late: float, calls: int, tokens: int) -> float:
        """Return when to come back: not all who are refused now at once."""
        at = max(now + late, self._booked_until)
        takes = max(
            calls / self._requests.per_s if self._requests is not None else 0.0,
            tokens / self._tokens.per_s if self._tokens is not None else 0.0,
        )
        self._booked_until = min(at + takes, now + _LONGEST_APPOINTMENT_S)
        return at - now

    # --------------------------------------------------------------------------------------------- learning the quota

    def succeeded(self, tokens: int) -> None:
        """A call of so many tokens got through."""
        now = self._clock()
        self._count(int(now))
        self._through[0] += 1
        self._through[1] += tokens
        if self._requests is None and self._tokens is None:
            return
        self._calls_since_shrunk += 1
        self._calls_since_changed += 1
        if now - self._changed_at >= 1.0:
            self._grow(now)

    def throttled(self, *, tokens: bool = False) -> None:
        """Bedrock throttled a call, for its requests or for its tokens."""
        now = self._clock()
        if now - self._shrunk_at < _SHRINK_EVERY_S:
            return
        self._shrunk_at = self._changed_at = now
        self._calls_since_shrunk = self._calls_since_changed = 0
        bucket = self._tokens if tokens else self._requests
        through = self._seen(tokens)
        if bucket is not None:
            shrink = _SHRINK if through > bucket.per_s / 2 else _HALVE
            lowest = _LOWEST_TOKENS if tokens else _LOWEST_RATE
            bucket.set_rate(max(lowest, through * _SHRINK, bucket.per_s * shrink), now)
        elif tokens:
            self._tokens = Bucket(max(_FIRST_RATE * 100, through), now)
        else:
            self._requests = Bucket(max(_FIRST_RATE, through), now)

    def _grow(self, now: float) -> None:
        calm_s = now - self._shrunk_at
        sure = calm_s >= _SURE_S and self._calls_since_shrunk >= _SURE_CALLS
        steps = min(now - self._changed_at, self._calls_since_changed)
        factor = inf if calm_s >= _FORGET_S else (2.0 if sure else _GROW) ** min(steps, _FORGET_S)
        self._changed_at = now
        self._calls_since_changed = 0
        if self._requests is not None:
            self._requests.set_rate(min(self._most_requests, self._requests.per_s * factor), now)
            if self._requests.per_s > _NO_RATE and self._most_requests == inf:
                self._requests = None
        if self._tokens is not None:
            self._tokens.set_rate(min(self._most_tokens, self._tokens.per_s * factor), now)
            if self._tokens.per_s > _NO_RATE * 1000 and self._most_tokens == inf:
                self._tokens = None

    def _count(self, second: int) -> None:
        if second != self._second:
            self._through_before.append((self._second, self._through))
            self._through = [0, 0]
            self._second = second

    def _seen(self, which: int) -> float:
        """Return the calls (0) or tokens (1) that got through in a second lately."""
        second = int(self._clock())
        self._count(second)
        lately = [(second, self._through), *self._through_before]
        busy = [counts[which] for at, counts in lately if at >= second - 1 and counts[0] >= _FEW_CALLS]
        if busy:
            return float(max(busy))
        return sum(counts[which] for at, counts in lately if at > second - _SEEN_S) / _SEEN_S

    # -------------------------------------------------------------------------------------------------------- inside

    def _wait_s(self, now: float, sparing: bool = False) -> float:
        """Return the seconds until the buckets let a call start."""
        wait_s = 0.0
        if self._requests is not None:
            wait_s = self._requests.wait_s(now, sparing=sparing)
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(now, sparing=sparing))
        return wait_s

    def _begin(self, tokens: int) -> None:
        now = self._clock()
        self.in_flight += 1
        if self._requests is not None:
            self._requests.spend(1, now)
        if self._tokens is not None:
            self._tokens.spend(tokens, now)

    def _hand_out(self) -> None:
        """Let those who wait start, as far as the pace allows, and come back when it allows more."""
        while self.waiting and self.in_flight < self._most_in_flight:
            now = self._clock()
            waiting, wait_s = self._turns.take(partial(self._wait_s, now))
            if waiting is None:
                self._come_back(now, wait_s)
                return
            if waiting.start.done():
                continue  # cancelled, and its task has not run yet
            self._begin(waiting.tokens)
            waiting.start.set_result(None)

    def _come_back(self, now: float, wait_s: float) -> None:
        wait_s = max(wait_s, _TICK_S)
        if self._timer is not None:
            if self._timer_at <= now + wait_s + _TICK_S:
                return
            self._timer.cancel()  # tokens were given back, or the rate has grown

        def come() -> None:
            self._timer = None
            self._hand_out()

        self._timer = asyncio.get_running_loop().call_later(wait_s, come)
        self._timer_at = now + wait_s
