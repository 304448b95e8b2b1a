"""`/_emulator`: what tests switch, make and read while the emulator runs. No credentials are asked for here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import orjson

from .async_invoke import AsyncJobs
from .faults import FaultTable
from .guardrails import Guardrails
from .journal import MAX_ROWS, Journal
from .latency import LatencyTable
from .quotas import QuotaTable
from .response import Response, as_json
from .s3.buckets import post_bucket
from .s3.store import Store
from .settings import BadSettingError
from .sigv4 import Keys


class _Table(Protocol):
    def list(self) -> list[dict[str, Any]]: ...

    def post(self, body: object) -> dict[str, Any]: ...

    def remove(self, entry_id: int | None = None) -> bool: ...


@dataclass(slots=True)
class Controls:
    """The state that `/_emulator` changes. `keys`: None takes any signature for good."""

    keys: Keys | None = None
    latency: LatencyTable = field(default_factory=LatencyTable)
    faults: FaultTable = field(default_factory=FaultTable)
    quotas: QuotaTable = field(default_factory=QuotaTable)
    guardrails: Guardrails = field(default_factory=Guardrails)
    journal: Journal = field(default_factory=Journal)
    s3: Store = field(default_factory=Store)
    jobs: AsyncJobs = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = AsyncJobs(self.s3)

    @property
    def tables(self) -> dict[str, _Table]:
        """The collections whose entries have numbers, by their names in paths."""
        return {"faults": self.faults, "quotas": self.quotas, "latency": self.latency}

    def set_keys(self, body: object) -> dict[str, Any]:
        """Check signatures from now on, against the keys in `body`. Raises BadSettingError."""
        self.keys = Keys.read(body)
        return self.keys.as_json()


def manage(controls: Controls, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
    """Answer a request to `/_emulator/{path}`."""
    collection, _, item = path.partition("/")
    if collection in controls.tables and (not item or item.isdecimal()):
        return _table(controls.tables[collection], method, collection, item, body)
    match method, collection, item:
        case "GET", "health", "":
            return as_json({"status": "ok"})
        case "GET", "guardrails", "":
            return as_json({"guardrails": controls.guardrails.list()})
        case "POST", "guardrails", "":
            return _post(controls.guardrails.post, body)
        case "DELETE", "guardrails", _:
            return _deleted(controls.guardrails.remove(item or None), f"There is no guardrail {item}.")
        case "GET", "async", "":
            return as_json(controls.jobs.as_json())
        case "POST", "async", "":
            return _post(controls.jobs.set, body)
        case "DELETE", "async", "":
            controls.jobs.clear()
            return _deleted(True)
        case "GET", "buckets", "":
            return as_json({"buckets": [bucket.as_json() for bucket in controls.s3.buckets.values()]})
        case "POST", "buckets", "":
            return _post(partial(post_bucket, controls.s3), body)
        case "DELETE", "buckets", "":
            controls.s3.clear()
            return _deleted(True)
        case "GET", "credentials", "":
            return as_json({"credentials": controls.keys.as_json() if controls.keys else None})
        case "POST", "credentials", "":
            return _post(controls.set_keys, body)
        case "DELETE", "credentials", "":
            controls.keys = None
            return _deleted(True)
        case "GET", "journal", "":
            return _read_journal(controls.journal, query)
        case "DELETE", "journal", "":
            controls.journal.clear()
            return _deleted(True)
    return _nothing(method, path)


def _table(table: _Table, method: str, name: str, item: str, body: bytes) -> Response:
    """Answer for one of the tables whose entries have numbers."""
    match method, item:
        case "GET", "":
            return as_json({name: table.list()})
        case "POST", "":
            return _post(table.post, body)
        case "DELETE", _:
            return _deleted(table.remove(int(item) if item else None), f"There is no {item} in {name}.")
    return _nothing(method, f"{name}/{item}" if item else name)


def _nothing(method: str, path: str) -> Response:
    return as_json({"message": f"There is no {method} /_emulator/{path}."}, 404)


def _post(take: Callable[[object], dict[str, Any]], body: bytes) -> Response:
    try:
        return as_json(take(orjson.loads(body)))
    except orjson.JSONDecodeError:
        return as_json({"message": "body: must be JSON"}, 400)
    except BadSettingError as error:
        return as_json({"message": str(error)}, 400)


def _deleted(existed: bool, message: str = "") -> Response:
    return as_json({"deleted": True}) if existed else as_json({"message": message}, 404)


def _read_journal(journal: Journal, query: Mapping[str, str]) -> Response:
    after, limit = query.get("after", "0"), query.get("limit", str(MAX_ROWS))
    for name, value in (("after", after), ("limit", limit)):
        if len(value) > 18 or not value.isdecimal():
            return as_json({"message": f"{name}: must be a whole number, 0 or more"}, 400)
    return as_json(journal.page(int(after), int(limit)))
