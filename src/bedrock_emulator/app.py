"""The HTTP face: Bedrock's paths, and `/_emulator` for faults and the journal. A raw ASGI app.

Paths are matched undecoded, since a model's ARN has encoded slashes. Checks come in this order, inferred from AWS's
answers: credentials, model id, profile, JSON, schema, the model's limits. A fault strikes after the id is known and
before the body is looked at.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

import orjson

from . import catalog, control_plane, json_body
from .errors import AwsError, body_too_large, missing_credentials, unknown_operation, validation
from .faults import BadFaultError, FaultTable
from .journal import Journal
from .models import FAMILIES
from .response import JSON, Response, as_error, as_json
from .transport import TRANSPORT, reset

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 25_000_000  # AWS API reference, InvokeModel
UNKNOWN = "UnknownOperation"  # in the journal, for a path that is no operation
_DEFAULT_REGION = "us-east-1"
_SCOPE_REGION = re.compile(r"Credential=[^/\s]+/\d{8}/([a-z0-9-]+)/")
_OPERATIONS: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (method, re.compile(pattern), op)
    for method, pattern, op in (
        ("POST", "/model/([^/]+)/invoke", "InvokeModel"),
        ("GET", "/foundation-models", "ListFoundationModels"),
        ("GET", "/foundation-models/([^/]+)", "GetFoundationModel"),
        ("GET", "/foundation-model-availability/([^/]+)", "GetFoundationModelAvailability"),
        ("GET", "/inference-profiles", "ListInferenceProfiles"),
        ("GET", "/inference-profiles/([^/]+)", "GetInferenceProfile"),
    )
)


@dataclass(slots=True)
class Call:
    """One call of Bedrock's API. `identifier`: the id in the path, decoded; `model`: what the id stands for."""

    op: str
    identifier: str | None
    region: str
    query: Mapping[str, str]
    body: bytes
    model: str | None = None
    fault: str | None = None


class Emulator:
    """The app. `latency_s` is added to every InvokeModel; `profiles` maps opaque ARNs to model ids."""

    def __init__(self, *, latency_s: float = 0.0, profiles: Mapping[str, str] | None = None) -> None:
        self._latency_s = latency_s
        self._profiles = dict(profiles or {})
        self._faults = FaultTable()
        self._journal = Journal()
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["raw_path"].decode("latin-1")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if path.startswith("/_emulator/"):
            body = await _read_body(receive)
            await _send(
                self._manage(scope["method"], path.removeprefix("/_emulator/"), query, body), scope, receive, send
            )
        else:
            await self._bedrock(path, query, scope, receive, send)

    async def _bedrock(self, path: str, query: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        at, started = time.time(), time.perf_counter()
        self._in_flight += 1
        concurrency = self._in_flight
        try:
            body = await _read_body(receive)
            op, identifier = _operation(scope["method"], path)
            authorization = _header(scope, b"authorization")
            match = _SCOPE_REGION.search(authorization)
            call = Call(op, identifier, match[1] if match else _DEFAULT_REGION, query, body)
            try:
                response = await self._answer(call, authorization)
            except AwsError as error:
                response = as_error(error)
            # The journal is written before the answer, so that whoever has the answer finds the row.
            response = _with_headers(response, call, started)
            broken = response.reset == "before_headers"
            self._journal.add(
                at=at,
                op=call.op,
                model=call.model or call.identifier,
                region=call.region,
                status=None if broken else response.status,
                request_body=body,
                response_body=None if broken else response.body,
                tokens=response.tokens,
                items=response.items,
                concurrency=concurrency,
                headers=list(scope["headers"]),
                fault=call.fault,
            )
        finally:
            self._in_flight -= 1
        await _send(response, scope, receive, send)

    async def _answer(self, call: Call, authorization: str) -> Response:
        if call.op == UNKNOWN:
            raise unknown_operation()
        if not authorization:
            raise missing_credentials()
        if len(call.body) > MAX_BODY_BYTES:
            raise body_too_large(MAX_BODY_BYTES)
        if call.op == "InvokeModel":
            call.model = catalog.resolve(call.identifier or "", call.region, self._profiles).model_id

        async def true_answer() -> Response:
            return await self._invoke(call) if call.op == "InvokeModel" else self._control(call)

        # A fault may name the model by its id, or by the profile or ARN it was called by.
        names = {"op": (call.op,), "model": (call.model, call.identifier), "region": (call.region,)}
        if fault := self._faults.pick(names):
            call.fault = fault.NAME
            return await fault.strike(true_answer)
        return await true_answer()

    async def _invoke(self, call: Call) -> Response:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        assert call.model is not None  # noqa: S101  # for the type checker: _answer resolved it
        family = FAMILIES.get(call.model)
        if family is None:
            raise validation(f"This emulator does not have the model {call.model} yet.")
        answer = family.invoke(call.model, json_body.parse(call.body))
        headers = [JSON]
        if answer.tokens is not None:
            headers.append((b"x-amzn-bedrock-input-token-count", b"%d" % answer.tokens))
        return Response(200, answer.body, headers, tokens=answer.tokens, items=answer.items)

    def _control(self, call: Call) -> Response:
        region, identifier = call.region, call.identifier or ""
        match call.op:
            case "ListFoundationModels":
                return as_json(control_plane.list_foundation_models(call.query, region))
            case "GetFoundationModel":
                return as_json(control_plane.get_foundation_model(identifier, region))
            case "GetFoundationModelAvailability":
                return as_json(control_plane.get_availability(identifier, region))
            case "ListInferenceProfiles":
                return as_json(control_plane.list_inference_profiles(call.query, region, self._profiles))
        return as_json(control_plane.get_inference_profile(identifier, region, self._profiles))

    def _manage(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """Answer on `/_emulator`."""
        collection, _, item = path.partition("/")
        match method, collection, item:
            case "GET", "health", "":
                return as_json({"status": "ok"})
            case "GET", "faults", "":
                return as_json({"faults": self._faults.list()})
            case "POST", "faults", "":
                return self._post_fault(body)
            case "DELETE", "faults", _ if not item or item.isdecimal():
                if self._faults.remove(int(item) if item else None):
                    return as_json({"deleted": True})
                return as_json({"message": f"There is no fault {item}."}, 404)
            case "GET", "journal", "":
                return self._read_journal(query)
            case "DELETE", "journal", "":
                self._journal.clear()
                return as_json({"deleted": True})
        return as_json({"message": f"There is no {method} /_emulator/{path}."}, 404)

    def _post_fault(self, body: bytes) -> Response:
        try:
            return as_json(self._faults.post(orjson.loads(body)))
        except orjson.JSONDecodeError:
            return as_json({"message": "body: must be JSON"}, 400)
        except BadFaultError as error:
            return as_json({"message": str(error)}, 400)

    def _read_journal(self, query: Mapping[str, str]) -> Response:
        after, limit = query.get("after", "0"), query.get("limit", "20000")
        for name, value in (("after", after), ("limit", limit)):
            if len(value) > 18 or not value.isdecimal():
                return as_json({"message": f"{name}: must be a whole number, 0 or more"}, 400)
        return as_json(self._journal.page(int(after), int(limit)))


def _operation(method: str, path: str) -> tuple[str, str | None]:
    for wanted, pattern, op in _OPERATIONS:
        if method == wanted and (match := pattern.fullmatch(path)):
            return op, unquote(match[1]) if match.groups() else None
    return UNKNOWN, None


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _with_headers(response: Response, call: Call, started: float) -> Response:
    headers = [*response.headers, (b"x-amzn-requestid", str(uuid4()).encode())]
    if call.op == "InvokeModel" and response.status == 200:
        latency_ms = max(1, round((time.perf_counter() - started) * 1000))
        headers.append((b"x-amzn-bedrock-invocation-latency", b"%d" % latency_ms))
    return replace(response, headers=headers)


async def _read_body(receive: Receive) -> bytes:
    """Return the request's body; of one over the limit a part that is over the limit too, the rest is read and lost."""
    chunks, size = [], 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
            size += len(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _send(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    transport = scope.get("extensions", {}).get(TRANSPORT)
    if response.reset == "before_headers":
        await reset(transport, receive)
        return
    headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.reset is None:
        await send({"type": "http.response.body", "body": response.body})
        return
    await send({"type": "http.response.body", "body": response.body[: response.reset], "more_body": True})
    await reset(transport, receive)
