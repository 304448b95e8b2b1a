"""How a key's limits stand, in OpenAI's headers."""

from __future__ import annotations

from embedrock.faces.http import headers as header
from embedrock.faces.http.messages import Headers
from embedrock.service.door import Admission


def told(admission: Admission) -> Headers:
    """Return `x-ratelimit-…` for each limit there is."""
    headers: Headers = []
    for (limit, remaining, reset), standing in (
        (header.OF_REQUESTS, admission.requests),
        (header.OF_TOKENS, admission.tokens),
    ):
        if standing is not None:
            headers.append((limit, b"%d" % standing.limit))
            headers.append((remaining, b"%d" % standing.remaining))
            headers.append((reset, duration(standing.reset_ms).encode()))
    return headers


def duration(ms: int) -> str:
    """Return a time as OpenAI writes it: `12ms`, `1s`, `6m0s`, `1h2m3s`; from a second on in whole ones, rounded up."""
    if ms < 1000:
        return f"{ms}ms"
    seconds = -(-ms // 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
