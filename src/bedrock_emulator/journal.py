"""What was called: the witness that tests compare with what a client says it did."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

MAX_ROWS = 50_000
MAX_BYTES = 256 * 1024 * 1024
MAX_REQUEST_BODY = 64 * 1024
_SECRETS = frozenset({"x-amz-security-token", "cookie"})


@dataclass(frozen=True, slots=True)
class Row:
    """One call of Bedrock's API, or of S3's.

    `at`: seconds since 1970 when the call arrived. `model`: the model id, or what was sent when it means nothing.
    `status`: None when there was no answer. `request_body`: the first 64 KB.
    `concurrency`: calls in flight when this one arrived, itself included. `fault`: the name of the fault that struck.
    `took_ms`: from the arrival of the call until its answer was ready to be sent, or was known not to come.
    `object`: the bucket and key that a call of S3 is about; an answer of S3 that is streamed has no hash.
    """

    id: int
    at: float
    op: str
    model: str | None
    region: str
    status: int | None
    request_body: bytes
    request_sha256: bytes
    response_sha256: bytes | None
    tokens: int | None
    items: int | None
    concurrency: int
    headers: bytes  # as lines, which take a third of the memory of pairs
    fault: str | None
    took_ms: float
    object: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row for the wire, with secrets masked."""
        return {
            "id": self.id,
            "at": self.at,
            "op": self.op,
            "model": self.model,
            "region": self.region,
            "status": self.status,
            "request_body": self.request_body.decode("utf-8", "replace"),
            "request_sha256": self.request_sha256.hex(),
            "response_sha256": None if self.response_sha256 is None else self.response_sha256.hex(),
            "tokens": self.tokens,
            "items": self.items,
            "concurrency": self.concurrency,
            "headers": dict(_mask(line.decode("latin-1")) for line in self.headers.split(b"\n") if line),
            "fault": self.fault,
            "took_ms": round(self.took_ms, 3),
            "object": self.object,
        }


class Journal:
    """The last rows, bounded by their number and by the bytes of their bodies."""

    def __init__(self) -> None:
        self.dropped = 0
        self._rows: deque[Row] = deque()
        self._next_id = 1
        self._bytes = 0

    def add(
        self,
        *,
        request_body: bytes,
        response_body: bytes | None,
        headers: Iterable[tuple[bytes, bytes]],
        request_sha256: bytes | None = None,
        **members: Any,
    ) -> None:
        """Append a row; the members are those of `Row`. `request_sha256`: when there is less than the whole body."""
        row = Row(
            id=self._next_id,
            request_body=bytes(request_body[:MAX_REQUEST_BODY]),
            request_sha256=request_sha256 or sha256(request_body).digest(),
            response_sha256=None if response_body is None else sha256(response_body).digest(),
            headers=b"\n".join(map(b": ".join, headers)),
            **members,
        )
        self._next_id += 1
        self._rows.append(row)
        self._bytes += len(row.request_body)
        while len(self._rows) > MAX_ROWS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._rows.popleft().request_body)
            self.dropped += 1

    def page(self, after: int, limit: int) -> dict[str, Any]:
        """Return up to `limit` rows with an id over `after`, oldest first."""
        found: list[dict[str, Any]] = []
        for row in self._rows:
            if len(found) == limit:
                break
            if row.id > after:
                found.append(row.as_json())
        return {"rows": found, "dropped": self.dropped}

    def clear(self) -> None:
        """Forget all rows. Ids go on counting."""
        self._rows.clear()
        self._bytes = self.dropped = 0


def _mask(line: str) -> tuple[str, str]:
    """Return a header without its secret; of a SigV4 header only the signature is one."""
    name, _, value = line.partition(": ")
    if name in _SECRETS:
        return name, "***"
    if name == "authorization":
        scheme, _, rest = value.partition(" ")
        if scheme.startswith("AWS4-"):
            return name, f"{scheme} {rest.partition('Signature=')[0]}Signature=***"
        return name, "Bearer ***" if scheme == "Bearer" else "***"
    return name, value
