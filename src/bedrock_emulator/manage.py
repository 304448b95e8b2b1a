"""`/_emulator`: what tests switch, make and read while the emulator runs. No credentials are asked for here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .faults import FaultTable
from .guardrails import Guardrails
from .journal import Journal
from .response import Response, as_json
from .settings import BadSettingError
from .sigv4 import Keys


@dataclass(slots=True)
class Controls:
    """The state that `/_emulator` changes. `keys`: None takes any signature for good."""

    keys: Keys | None = None
    faults: FaultTable = field(default_factory=FaultTable)
    guardrails: Guardrails = field(default_factory=Guardrails)
    journal: Journal = field(default_factory=Journal)

    def set_keys(self, body: object) -> dict[str, Any]:
        """Check signatures from now on, against the keys in `body`. Raises BadSettingError."""
        self.keys = Keys.read(body)
        return self.keys.as_json()


def manage(controls: Controls, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
    """Answer a request to `/_emulator/{path}`."""
    collection, _, item = path.partition("/")
    match method, collection, item:
        case "GET", "health", "":
            return as_json({"status": "ok"})
        case "GET", "faults", "":
            return as_json({"faults": controls.faults.list()})
        case "POST", "faults", "":
            return _post(controls.faults.post, body)
        case "DELETE", "faults", _ if not item or item.isdecimal():
            return _deleted(controls.faults.remove(int(item) if item else None), f"There is no fault {item}.")
        case "GET", "guardrails", "":
            return as_json({"guardrails": controls.guardrails.list()})
        case "POST", "guardrails", "":
            return _post(controls.guardrails.post, body)
        case "DELETE", "guardrails", _:
            return _deleted(controls.guardrails.remove(item or None), f"There is no guardrail {item}.")
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
    after, limit = query.get("after", "0"), query.get("limit", "20000")
    for name, value in (("after", after), ("limit", limit)):
        if len(value) > 18 or not value.isdecimal():
            return as_json({"message": f"{name}: must be a whole number, 0 or more"}, 400)
    return as_json(journal.page(int(after), int(limit)))
