"""How one way to Bedrock is doing: when not to try at all, and when not to try again.

Nothing but failures for a second, five of them or more, or half of twenty and more in ten seconds: then calls are no
longer made but for a probe a second; a success ends that. A blip that is shorter is what trying again is for.
Throttles and refusals are no failures: they say that Bedrock is there.

Trying again is paid from a budget that successes refill, so that an outage is not made worse by those who wait for
its end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from embedrock.errors import Unavailable

_IN_A_ROW: Final = 5
_FOR_S: Final = 1.0
_OUT_OF: Final = 20
_WITHIN_S: Final = 10.0
_PROBE_EVERY_S: Final = 1.0
_BUDGET: Final = 500.0
_COST: Final = 14.0  # of trying again; the figures are those of AWS's own SDKs
_REFUND: Final = 1.0  # of a success


class Health:
    """The state of one way, in the time of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_in_a_row = 0
        self._failing_since = 0.0
        self._lately: deque[tuple[float, bool]] = deque()  # when, and whether it failed; from a failure on
        self._failures = 0  # among them
        self._probe_at: float | None = None  # the way is closed but for probes
        self._budget = _BUDGET

    @property
    def is_closed(self) -> bool:
        """Whether calls are not made, but for probes."""
        return self._probe_at is not None

    @property
    def admits(self) -> bool:
        """Whether a call may be made now, if only as a probe."""
        return self._probe_at is None or self._clock() >= self._probe_at

    def check(self) -> None:
        """Raise Unavailable unless a call may be made now."""
        if not self.admits:
            raise Unavailable("Bedrock has been failing; it is asked again once a second.", retry_after_s=1)

    def admit(self) -> None:
        """Like `check`; a call is made now, and so the next probe is later."""
        self.check()
        if self._probe_at is not None:
            self._probe_at = self._clock() + _PROBE_EVERY_S

    def succeeded(self) -> None:
        """A call was answered."""
        self._budget = min(_BUDGET, self._budget + _REFUND)
        if self._failed_in_a_row or self._lately:
            self._failed_in_a_row = 0
            if self._probe_at is not None:
                self._probe_at = None
                self._forget()
            self._remember(failed=False)

    def answered(self) -> None:
        """A call was refused or throttled: Bedrock is there."""
        self._failed_in_a_row = 0
        if self._probe_at is not None:
            self._probe_at = None
            self._forget()

    def failed(self) -> None:
        """A call failed, and not because of what it asked."""
        now = self._clock()
        if not self._failed_in_a_row:
            self._failing_since = now
        self._failed_in_a_row += 1
        self._remember(failed=True)
        often = len(self._lately) >= _OUT_OF and self._failures * 2 >= len(self._lately)
        always = self._failed_in_a_row >= _IN_A_ROW and now - self._failing_since >= _FOR_S
        if self._probe_at is None and (always or (often and now - self._lately[0][0] >= _FOR_S)):
            self._probe_at = now + _PROBE_EVERY_S

    def may_retry(self) -> bool:
        """Take the price of trying again from the budget; return whether it was there."""
        if self._budget < _COST:
            return False
        self._budget -= _COST
        return True

    def _remember(self, *, failed: bool) -> None:
        now = self._clock()
        self._lately.append((now, failed))
        self._failures += failed
        while self._lately[0][0] < now - _WITHIN_S:
            self._failures -= self._lately.popleft()[1]
        if not self._failures:
            self._forget()

    def _forget(self) -> None:
        self._lately.clear()
        self._failures = 0
