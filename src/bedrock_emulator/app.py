"""The HTTP face: Bedrock's paths. A raw ASGI app; `/_emulator` goes to `manage`, what is signed for S3 to `s3.face`.

Paths are matched undecoded, since a model's ARN has encoded slashes. Checks come in this order, inferred from AWS's
answers: credentials, headers, model id, profile, quotas, JSON, schema, the model's limits. A fault strikes after the
quotas and before the body is looked at. A model's refusal comes at once, an answer after the latency.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from . import catalog, container_credentials, control_plane, guardrails, invoke_headers, json_body, sigv4
from .async_request import find_model
from .errors import AwsError, body_too_large, missing_credentials, unknown_operation, validation
from .fate import PLAIN, Fate
from .latency import Latency, LatencyTable
from .manage import Controls, manage
from .models import FAMILIES
from .quotas import Ask, Grant
from .response import JSON, TOKEN_COUNT, Response, Struck, Unanswered, as_error, as_json, hang, unanswered
from .s3.face import S3, is_meant
from .s3.store import open_objects
from .sigv4 import Keys
from .table import Names
from .transport import ARRIVED, Connection, Receive, Scope, Send

MAX_BODY_BYTES = 25_000_000  # AWS API reference, InvokeModel
UNKNOWN = "UnknownOperation"  # in the journal, for a path that is no operation
_BEARER = ("bearer", "us-east-1")  # account and region of a call whose signature names none
_SCOPE = re.compile(r"Credential=([^/\s]+)/\d{8}/([a-z0-9-]+)/")
CONTAINER_CREDENTIALS = "GetContainerCredentials"  # not Bedrock's, and the one call without credentials
_OPERATIONS: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (method, re.compile(pattern), op)
    for method, pattern, op in (
        ("POST", "/model/([^/]+)/invoke", "InvokeModel"),
        ("POST", "/async-invoke", "StartAsyncInvoke"),
        ("GET", "/async-invoke", "ListAsyncInvokes"),
        ("GET", "/async-invoke/(.+)", "GetAsyncInvoke"),
        ("POST", "/guardrail/([^/]+)/version/([^/]+)/apply", "ApplyGuardrail"),
        ("GET", "/v2/credentials/([^/]+)", CONTAINER_CREDENTIALS),
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

    `identifiers`: those in the path, decoded; `model`: what the first one stands for, when the operation has a model;
    `account`: the id of the access key that signed; `started`: when it arrived, by time.perf_counter.
    """

    op: str
    identifiers: tuple[str, ...]
    account: str
    region: str
    query: Mapping[str, str]
    request: sigv4.Request
    started: float
    model: str | None = None
    fault: str | None = None
    grant: Grant | None = None

    @property
    def names(self) -> Names:
        """By what an entry of `/_emulator` may mean the call; a model also by the profile or ARN it is called by."""
        model = (self.model, *self.identifiers[:1])
        return {"op": (self.op,), "model": model, "region": (self.region,), "account": (self.account,)}

    @property
    def quota_of(self) -> str:
        """The model or profile whose quota the call needs: profiles have their own, but not those of applications."""
        name = self.identifiers[0].rpartition("/")[2]
        return name if catalog.is_known(name) else str(self.model)

    @property
    def named_model(self) -> str | None:
        """The model's id, or what was sent when it means nothing."""
        return self.model or (self.identifiers[0] if self.identifiers and self.op != "ApplyGuardrail" else None)


class Emulator:
    """The app.

    `latency_s` is added to every InvokeModel, unless one of `latencies` or a posted one says otherwise; `profiles` maps
    opaque ARNs to model ids. Every call has to be signed with `keys`; when there are none, any signature and any bearer
    key is taken.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        latencies: Iterable[Latency] = (),
        profiles: Mapping[str, str] | None = None,
        keys: Keys | None = None,
    ) -> None:
        self._profiles = dict(profiles or {})
        self._controls = Controls(keys, LatencyTable(latency_s, latencies))
        self._s3 = S3(self._controls)
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["raw_path"].decode("latin-1")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if path.startswith("/_emulator/"):
            body = await _read_body(receive)
            response = manage(self._controls, scope["method"], path.removeprefix("/_emulator/"), query, body)
            await _send(response, send)
        elif is_meant(scope):
            await self._s3(scope, receive, send)
        else:
            await self._bedrock(path, query, scope, receive, send)

    async def _bedrock(self, path: str, query: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        self._in_flight += 1
        try:
            response = await self._journalled(path, query, scope, receive)
            if response.deliver:
                await response.deliver(response, Connection(scope, receive, send))
        finally:
            self._in_flight -= 1
        if not response.deliver:  # no longer in flight, since whoever has the answer may begin the next call
            await _send(response, send)

    async def _journalled(self, path: str, query: Mapping[str, str], scope: Scope, receive: Receive) -> Response:
        """Return the answer to a call. It is in the journal then, so that whoever has the answer finds the row."""
        started, concurrency = scope[ARRIVED], self._in_flight
        at = time.time() - (time.perf_counter() - started)
        body = await _read_body(receive)
        request = sigv4.Request(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body)
        op, identifiers = _operation(scope["method"], path)
        match = _SCOPE.search(request.header("authorization") or "")
        account, region = match.groups() if match else _BEARER
        call = Call(op, identifiers, account, region, query, request, started)
        try:
            response = await self._answer(call)
        except AwsError as error:
            response = as_error(error)
        except Unanswered:
            response = unanswered(hang)
        if call.grant:
            call.grant.settle(response.tokens or 0)
        took_ms = (time.perf_counter() - started) * 1000
        self._controls.journal.add(
            at=at,
            op=call.op,
            model=call.named_model,
            region=call.region,
            status=response.status or None,
            request_body=body,
            response_body=response.body if response.status else None,
            tokens=response.tokens,
            items=response.items,
            concurrency=concurrency,
            headers=scope["headers"],
            fault=call.fault,
            took_ms=took_ms,
        )
        return _with_headers(response, call, took_ms)

    async def _answer(self, call: Call) -> Response:
        self._check(call)
        echoed = self._admit(call) if call.op == "InvokeModel" else []
        if call.op == "StartAsyncInvoke":
            call.model = find_model(json_body.parse(call.request.body), call.region)
        elif call.op == "GetAsyncInvoke":
            call.model = self._controls.jobs.model_of(call.identifiers[0])

        async def answer(body: bytes, fate: Fate = PLAIN) -> Response:
            match call.op:
                case "InvokeModel":
                    return await self._invoke(call, body, echoed)
                case "ApplyGuardrail":
                    return self._apply_guardrail(call, body)
                case "StartAsyncInvoke":
                    started = self._controls.jobs.start(body, call.region, call.account, fate)
                    return replace(as_json(started), items=1)
                case "GetContainerCredentials":
                    return container_credentials.answer(self._controls.keys)
            return self._control(call)

        struck = Struck(call.op, call.model, call.region, call.request.body, answer, partial(answer, call.request.body))
        if fault := self._controls.faults.pick(call.names):
            call.fault = fault.NAME
            return await fault.strike(struck)
        return await struck.true_answer()

    def _check(self, call: Call) -> None:
        """Raise AwsError for what is refused whatever the operation."""
        if call.op == UNKNOWN:
            raise unknown_operation()
        if not call.request.header("authorization") and call.op != CONTAINER_CREDENTIALS:
            raise missing_credentials()
        if len(call.request.body) > MAX_BODY_BYTES:  # before the signature: the end of the body was not kept
            raise body_too_large(MAX_BODY_BYTES)
        if self._controls.keys and call.op != CONTAINER_CREDENTIALS:
            sigv4.verify(call.request, self._controls.keys, now=datetime.now(UTC))

    def _admit(self, call: Call) -> list[tuple[bytes, bytes]]:
        """Let a call of InvokeModel pass headers, model and quotas; return the headers that it gets back."""
        echoed = invoke_headers.check(call.request.headers)
        call.model = catalog.resolve(call.identifiers[0], call.region, self._profiles).model_id
        if self._controls.quotas:
            ask = Ask(call.quota_of, call.region, call.account, call.request.body, call.names)
            call.grant = self._controls.quotas.admit(ask)
        return echoed

    async def _invoke(self, call: Call, body: bytes, echoed: list[tuple[bytes, bytes]]) -> Response:
        assert call.model is not None  # noqa: S101  # for the type checker: _answer resolved it
        family = FAMILIES.get(call.model)
        if family is None:
            raise validation(f"This emulator does not have the model {call.model} yet.")
        answer = family.invoke(call.model, json_body.parse(body), open_objects(self._controls.s3, call.region))
        latency_s = self._controls.latency.draw(call.names, answer.tokens or 0)
        if latency_s is None:
            raise Unanswered
        # The work of this process is part of the time: calls that arrive together do not wait for one another's.
        await _sleep_until(call.started + latency_s)
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
            case "GetAsyncInvoke":
                return as_json(self._controls.jobs.find(identifier, region).as_json())
            case "ListAsyncInvokes":
                return as_json(self._controls.jobs.list(call.query, region))
            case "ListFoundationModels":
                return as_json(control_plane.list_foundation_models(call.query, region))
            case "GetFoundationModel":
                return as_json(control_plane.get_foundation_model(identifier, region))
            case "GetFoundationModelAvailability":
                return as_json(control_plane.get_availability(identifier, region))
            case "ListInferenceProfiles":
                return as_json(control_plane.list_inference_profiles(call.query, region, self._profiles))
        return as_json(control_plane.get_inference_profile(identifier, region, self._profiles))


async def _sleep_until(due: float) -> None:
    """Sleep until a time of time.perf_counter, and not less: uvloop counts whole milliseconds and may end early."""
    while (left_s := due - time.perf_counter()) > 0:  # noqa: ASYNC110  # time is what is waited for
        await asyncio.sleep(math.ceil(left_s * 1000) / 1000)


def _operation(method: str, path: str) -> tuple[str, tuple[str, ...]]:
    for wanted, pattern, op in _OPERATIONS:
        if method == wanted and (match := pattern.fullmatch(path)):
            return op, tuple(map(unquote, match.groups()))
    return UNKNOWN, ()


def _with_headers(response: Response, call: Call, took_ms: float) -> Response:
    headers = [*response.headers, (b"x-amzn-requestid", str(uuid4()).encode())]
    if call.op == "InvokeModel" and response.status == 200:
        headers.append((b"x-amzn-bedrock-invocation-latency", b"%d" % max(1, round(took_ms))))
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


async def _send(response: Response, send: Send) -> None:
    headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
