"""What answers each path. Routing looks at the path as it came over the wire: nothing encoded in it means another."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from random import getrandbits
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from embedrock import vectors
from embedrock.catalog import MODELS, Target
from embedrock.catalog.prices import micro_credits
from embedrock.errors import (
    BadRequest,
    ContentBlocked,
    ModelNotFound,
    NotFound,
    Unavailable,
    UpstreamThrottled,
    ValidationError,
)
from embedrock.faces import batches
from embedrock.faces.http import bedrock_headers, replays
from embedrock.faces.http import headers as header
from embedrock.faces.http.bedrock_headers import BedrockHeaders
from embedrock.faces.http.jobs import cancel_batch, file_content, show_batch
from embedrock.faces.http.messages import JSON, Answer, Headers, Request, Serving, read_json, timeout, whole
from embedrock.service.embedder import Accept, Reply
from embedrock.vectors import Array
from embedrock.wire import batches as wire_batches
from embedrock.wire import native, openai, v3
from embedrock.wire.strict_json import LARGE_BYTES

T = TypeVar("T")

_HEADER_NAMES: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)  # of parameters that may be listed in a header
_LIST_CHARS: Final = 2000  # of a list in a header
_SHOWN_CHARS: Final = 200  # of a path quoted in a 404


Handler = Callable[[Serving, Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a path; `name` is the label of its metrics."""

    name: str
    methods: tuple[str, ...]
    handler: Handler
    needs_key: bool = True
    embeds: bool = False  # a request counts against its caller's limits
    right: str = ""  # what keys can be bounded to; "": nothing that a bounded key may use


async def embeddings(serving: Serving, request: Request) -> Answer:
    """POST /v1/embeddings."""
    return await _openai_embeddings(serving, request)


async def deployment_embeddings(serving: Serving, request: Request) -> Answer:
    """POST /openai/deployments/{name}/embeddings: as Azure's clients call it. The path's name wins over the body's."""
    return await _openai_embeddings(serving, request, unquote(request.path.split("/")[3]))


async def _openai_embeddings(serving: Serving, request: Request, model: str | None = None) -> Answer:
    bedrock = bedrock_headers.read(request.headers, request.raw_headers)
    ask = await _decoded(openai.decode_request, serving, request, model)
    accept = partial(serving.gateway.background.accept, as_base64=ask.render is vectors.as_base64)
    reply = await _embed(serving, request, ask, bedrock, accept)
    if reply.jobs is not None:
        body = wire_batches.encode_accepted(ask.model, map(batches.of_job, reply.jobs), reply.tokens)
        return Answer(body, _told(reply, bedrock.trace), 202)
    body = openai.encode_response(ask.model, reply.vectors, reply.tokens, reply.labels)
    return Answer(body, _told(reply, bedrock.trace))


async def v3_embeddings(serving: Serving, request: Request) -> Answer:
    """POST /api/v3/inference/embeddings."""
    bedrock = bedrock_headers.read(request.headers, request.raw_headers)
    ask = await _decoded(v3.decode_request, serving, request)
    reply = await _embed(serving, request, ask, bedrock)
    body = v3.encode_response(
        ask.model,
        reply.vectors,
        reply.tokens,
        reply.labels,
        answer_id=f"embed-{getrandbits(96):024x}",
        created=float(int(time.time())),
    )
    return Answer(body, _told(reply, bedrock.trace))


async def native_embeddings(serving: Serving, request: Request) -> Answer:
    """POST /v1/aws-bedrock/embeddings: Bedrock's own body and answer, with credits."""
    bedrock = bedrock_headers.read(request.headers, request.raw_headers)
    if bedrock.guardrail is not None:
        raise BadRequest("A guardrail is enforced on /v1/embeddings only.", code="invalid_header_value")
    model, members = await _decoded(native.read_model, serving, request)
    if not model.startswith((*native.PREFIXES, *serving.settings.native_prefixes)):
        raise ValidationError("'model' does not begin like one that this path takes.", param="model")
    target = serving.gateway.names.find(model)
    ask = native.decode_request(target.spec.family, members)
    serving.gateway.s3.check_uris(ask.objects, request.caller.s3_prefixes)
    try:
        reply = await serving.gateway.native.invoke(
            target,
            ask.body,
            texts=ask.texts,
            images=ask.images,
            clips=ask.clips,
            headers=bedrock.forwarded,
            caller=request.caller,
            admission=request.admission,
            bill=request.bill,
            timeout_s=timeout(request.headers),
        )
    except UpstreamThrottled as exc:
        # As this path's clients expect.
        raise Unavailable(exc.message, code="upstream_throttled", retry_after_s=exc.retry_after_s) from exc
    opened = native.open_end(target.spec.family, reply.body)
    charge = await request.bill.settle() if request.bill is not None else None
    used = micro_credits(reply.cost_usd, serving.settings.credits_per_usd) if charge is None else charge.charged
    return Answer(
        native.encode_response(opened, used, None if charge is None else charge.remaining),
        [JSON, *_told_of_call(target, (reply.region,), reply.calls, reported=reply.reported)],
    )


async def _decoded(decode: Callable[..., T], serving: Serving, request: Request, *more: str | None) -> T:
    """Return what `decode` makes of the body; a large one in a thread, so that others are answered meanwhile."""
    body = await read_json(request, serving.settings.max_body_bytes)
    if request.bill is not None:
        await replays.claim(request, request.bill, body)
    return await asyncio.to_thread(decode, body, *more) if len(body) > LARGE_BYTES else decode(body, *more)


async def _embed(
    serving: Serving,
    request: Request,
    ask: openai.EmbeddingsRequest,
    bedrock: BedrockHeaders,
    accept: Accept | None = None,
) -> Reply[Array]:
    if request.bill is not None:
        request.bill.note(ask.user, ask.metadata)
    try:
        return await serving.gateway.embedder.embed(
            ask.model,
            ask.input,
            render=ask.render,
            dimensions=ask.dimensions,
            params=ask.params,
            headers=bedrock.forwarded,
            guardrail=bedrock.guardrail,
            caller=request.caller,
            admission=request.admission,
            bill=request.bill,
            timeout_s=timeout(request.headers),
            accept=accept,
        )
    except ContentBlocked as exc:
        exc.outcome = exc.outcome if bedrock.trace else None
        raise


def _told_of_call(target: Target, regions: Sequence[str], calls: int, *, reported: bool) -> Headers:
    return [
        (header.MODEL, target.spec.id.encode()),
        (header.USAGE, b"reported" if reported else b"estimated"),
        (header.REGION, ",".join(regions).encode()),
        (header.CALLS, b"%d" % calls),
    ]


def _told(reply: Reply[Any], trace: bool) -> Headers:
    """Return the headers that say what was done for an answer."""
    headers = [JSON, *_told_of_call(reply.target, reply.regions, reply.calls, reported=reply.reported)]
    if reply.emptied:
        headers.append((header.EMPTY, _indexes(reply.emptied)))
    if reply.truncated:
        headers.append((header.TRUNCATED, _indexes(reply.truncated)))
    if reply.dropped:
        headers.append((header.DROPPED, _names(reply.dropped)))
    if reply.masked:
        headers.append((header.MASKED, _indexes(reply.masked)))
    if reply.guardrail and trace:
        headers.append((header.GUARDRAIL, reply.guardrail.encode()))
    return headers


async def list_models(serving: Serving, request: Request) -> Answer:
    """GET /v1/models: the catalogue, and the operator's own names; as far as the key may use them."""
    names = serving.gateway.names
    named = [*MODELS.items(), *((alias, names.find(alias).spec) for alias in names.aliases if alias not in MODELS)]
    seen = [(name, spec) for name, spec in named if request.caller.sees(name, spec.id)]
    return whole(openai.encode_models(seen, serving.settings.max_inputs))


async def show_model(serving: Serving, request: Request) -> Answer:
    """GET /v1/models/{id}, the id raw or percent-encoded, and any other name of a model."""
    name = unquote(request.path.partition("/models/")[2])
    spec = serving.gateway.names.find(name).spec
    if not request.caller.sees(name, spec.id):
        raise ModelNotFound("There is no model of this name for this key.", param="model")
    return whole(openai.encode_model(name, spec, serving.settings.max_inputs))


async def live(serving: Serving, request: Request) -> Answer:  # noqa: ARG001
    """GET /health/live: the process answers."""
    return whole(b'{"status":"live"}')


async def ready(serving: Serving, request: Request) -> Answer:  # noqa: ARG001
    """GET /health/ready: there are credentials to call Bedrock with."""
    await serving.gateway.find_credentials()
    return whole(b'{"status":"ready"}')


async def metrics(serving: Serving, request: Request) -> Answer:  # noqa: ARG001
    """GET /metrics, for Prometheus."""
    body, content_type = serving.gateway.metrics.expose()
    return Answer(openai.Body(len(body), (body,)), [(b"content-type", content_type.encode())])


async def nothing(serving: Serving, request: Request) -> Answer:  # noqa: ARG001
    """Any other path."""
    raise NotFound(f"Nothing lives at {_shown(request)}. This gateway embeds, at /v1/embeddings.")


def _indexes(indexes: Sequence[int]) -> bytes:
    """Return indexes for a header: each, or runs where they are many; proxies drop headers of some kilobytes."""
    text = ",".join(map(str, indexes))
    if len(text) > _LIST_CHARS:
        starts = [i for i in range(len(indexes)) if i == 0 or indexes[i] != indexes[i - 1] + 1]
        ends = [*(i - 1 for i in starts[1:]), len(indexes) - 1]
        text = ",".join(
            f"{indexes[a]}-{indexes[b]}" if b > a else str(indexes[a]) for a, b in zip(starts, ends, strict=True)
        )
    return _cut(text)


def _cut(text: str) -> bytes:
    return (text if len(text) <= _LIST_CHARS else text[:_LIST_CHARS].rpartition(",")[0] + ",...").encode()


def _names(names: Iterable[str]) -> bytes:
    """Return names a caller chose, for a header; one that could break the header is a question mark."""
    return _cut(",".join(name if _HEADER_NAMES.fullmatch(name) else "?" for name in names))


def _shown(request: Request) -> str:
    shown = f"{request.method} {request.path}"
    return shown if shown.isascii() and shown.isprintable() and len(shown) <= _SHOWN_CHARS else "this path"


_GET: Final = ("GET", "HEAD")
_EMBEDDINGS: Final = Route("embeddings", ("POST",), embeddings, embeds=True, right="embeddings")
AZURE: Final = Route("embeddings", ("POST",), deployment_embeddings, embeds=True, right="embeddings")
_AZURE_PATH: Final = re.compile(r"/openai/deployments/[^/]+/embeddings")
_MODELS: Final = Route("models", _GET, list_models, right="models")
_MODEL: Final = Route("model", _GET, show_model, right="models")
ROUTES: Final = {
    "/v1/embeddings": _EMBEDDINGS,
    "/embeddings": _EMBEDDINGS,
    "/v1/aws-bedrock/embeddings": Route("native", ("POST",), native_embeddings, embeds=True, right="native"),
    "/api/v3/inference/embeddings": Route("v3", ("POST",), v3_embeddings, embeds=True, right="v3"),
    "/v1/models": _MODELS,
    "/models": _MODELS,
    "/health/live": Route("live", _GET, live, needs_key=False),
    "/health/ready": Route("ready", _GET, ready, needs_key=False),
    "/metrics": Route("metrics", _GET, metrics, needs_key=False),
}
_BATCH: Final = Route("batch", _GET, show_batch, right="embeddings")
_CANCEL: Final = Route("cancel", ("POST",), cancel_batch, right="embeddings")
_CONTENT: Final = Route("content", _GET, file_content, right="embeddings")
_JOB_PATHS: Final = (
    (re.compile(r"/(?:v1/)?batches/[^/]+/cancel"), _CANCEL),
    (re.compile(r"/(?:v1/)?batches/.+"), _BATCH),  # an ARN may come with its slash as it is
    (re.compile(r"/(?:v1/)?files/[^/]+/content"), _CONTENT),
)
_NOTHING: Final = Route("unknown", ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"), nothing)


#: What keys can be bounded to, by the names of routes.
RIGHTS: Final = frozenset(route.right for route in ROUTES.values() if route.needs_key) | {"mcp"}


def find_route(path: str) -> Route:
    """Return what answers `path`; there is always something."""
    if (route := ROUTES.get(path)) is not None:
        return route
    if path.startswith(("/v1/models/", "/models/")):
        return _MODEL
    for pattern, route in _JOB_PATHS:
        if pattern.fullmatch(path):
            return route
    return AZURE if _AZURE_PATH.fullmatch(path) else _NOTHING
