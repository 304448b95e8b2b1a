"""The HTTP face: Bedrock's paths. A raw ASGI app; what is under `/_emulator` goes to `manage`.

Paths are matched undecoded, since a model's ARN has encoded slashes. Checks come in this order, inferred from AWS's
answers: credentials, headers, model id, profile, JSON, schema, the model's limits. A fault strikes after the id is
known and before the body is looked at.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from . import catalog, control_plane, guardrails, invoke_headers, json_body, sigv4
from .errors import AwsError, body_too_large, missing_credentials, unknown_operation, validation
from .manage import Controls, manage
from .models import FAMILIES
from .response import JSON, TOKEN_COUNT, Response, Struck, as_error, as_json
from .sigv4 import Keys
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
        ("POST", "/guardrail/([^/]+)/version/([^/]+)/apply", "ApplyGuardrail"),
        ("GET", "/foundation-models", "ListFoundationModels"),
        ("GET", "/foundation-models/([^/]+)", "GetFoundationModel"),
        ("GET", "/foundation-model-availability/([^/]+)", "GetFoundationModelAvailability"),
        ("GET", "/inference-profiles", "ListInferenceProfiles"),
        ("GET", "/inference-profiles/([^/]+)", "GetInferenceProfile"),
    )
)


@dataclass(slots=True)
class Call:
    """One call of Bedrock's API.

    `identifiers`: those in the path, decoded; `model`: what the first one stands for, when the operation has a model.
    """

    op: str
    identifiers: tuple[str, ...]
    region: str
    query: Mapping[str, str]
    request: sigv4.Request
    model: str | None = None
    fault: str | None = None

    @property
    def named_model(self) -> str | None:
        """The model's id, or what was sent when it means nothing."""
        return self.model or (self.identifiers[0] if self.identifiers and self.op != "ApplyGuardrail" else None)


class Emulator:
    """The app.

    `latency_s` is added to every InvokeModel; `profiles` maps opaque ARNs to model ids. Every call has to be signed
    with `keys`; when there are none, any signature and any bearer key is taken.
    """

    def __init__(
        self, *, latency_s: float = 0.0, profiles: Mapping[str, str] | None = None, keys: Keys | None = None
    ) -> None:
        self._latency_s = latency_s
        self._profiles = dict(profiles or {})
        self._controls = Controls(keys)
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["raw_path"].decode("latin-1")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if path.startswith("/_emulator/"):
            body = await _read_body(receive)
            response = manage(self._controls, scope["method"], path.removeprefix("/_emulator/"), query, body)
            await _send(response, scope, receive, send)
        else:
            await self._bedrock(path, query, scope, receive, send)

    async def _bedrock(self, path: str, query: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        at, started = time.time(), time.perf_counter()
        self._in_flight += 1
        concurrency = self._in_flight
        try:
            body = await _read_body(receive)
            request = sigv4.Request(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body)
            op, identifiers = _operation(scope["method"], path)
            match = _SCOPE_REGION.search(request.header("authorization") or "")
            call = Call(op, identifiers, match[1] if match else _DEFAULT_REGION, query, request)
            try:
                response = await self._answer(call)
            except AwsError as error:
                response = as_error(error)
            # The journal is written before the answer, so that whoever has the answer finds the row.
            response = _with_headers(response, call, started)
            broken = response.reset == "before_headers"
            self._controls.journal.add(
                at=at,
                op=call.op,
                model=call.named_model,
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

    async def _answer(self, call: Call) -> Response:
        if call.op == UNKNOWN:
            raise unknown_operation()
        if not call.request.header("authorization"):
            raise missing_credentials()
        if len(call.request.body) > MAX_BODY_BYTES:  # before the signature: the end of the body was not kept
            raise body_too_large(MAX_BODY_BYTES)
        if self._controls.keys:
            sigv4.verify(call.request, self._controls.keys, now=datetime.now(UTC))
        echoed: list[tuple[bytes, bytes]] = []
        if call.op == "InvokeModel":
            echoed = invoke_headers.check(call.request.headers)
            call.model = catalog.resolve(call.identifiers[0], call.region, self._profiles).model_id

        async def answer(body: bytes) -> Response:
            match call.op:
                case "InvokeModel":
                    return await self._invoke(call, body, echoed)
                case "ApplyGuardrail":
                    return self._apply_guardrail(call, body)
            return self._control(call)

        # A fault may name the model by its id, or by the profile or ARN it was called by.
        names = {"op": (call.op,), "model": (call.model, *call.identifiers[:1]), "region": (call.region,)}
        struck = Struck(call.op, call.model, call.region, call.request.body, answer)
        if fault := self._controls.faults.pick(names):
            call.fault = fault.NAME
            return await fault.strike(struck)
        return await struck.true_answer()

    async def _invoke(self, call: Call, body: bytes, echoed: list[tuple[bytes, bytes]]) -> Response:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        assert call.model is not None  # noqa: S101  # for the type checker: _answer resolved it
        family = FAMILIES.get(call.model)
        if family is None:
            raise validation(f"This emulator does not have the model {call.model} yet.")
        answer = family.invoke(call.model, json_body.parse(body))
        headers = [JSON, *echoed]
        if answer.tokens is not None and answer.in_header:
            headers.append((TOKEN_COUNT, b"%d" % answer.tokens))
        return Response(200, answer.body, headers, tokens=answer.tokens, items=answer.items)

    def _apply_guardrail(self, call: Call, body: bytes) -> Response:
        identifier, version = call.identifiers
        guardrail = self._controls.guardrails.find(identifier, version, call.region)
        answer, items = guardrails.apply(guardrail, json_body.parse(body), call.region)
        return replace(as_json(answer), items=items)

    def _control(self, call: Call) -> Response:
        region, identifier = call.region, call.identifiers[0] if call.identifiers else ""
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


def _operation(method: str, path: str) -> tuple[str, tuple[str, ...]]:
    for wanted, pattern, op in _OPERATIONS:
        if method == wanted and (match := pattern.fullmatch(path)):
            return op, tuple(map(unquote, match.groups()))
    return UNKNOWN, ()


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
