"""What answers the paths of jobs: their batches, and their results as files. Another key's job is one there is not."""

from __future__ import annotations

import re
import time
from typing import Final
from urllib.parse import unquote

from embedrock.errors import BadRequest
from embedrock.faces import batches
from embedrock.faces.http.messages import Answer, Request, Serving, whole
from embedrock.service.background import unknown_job
from embedrock.upstream.async_invoke import ARN
from embedrock.wire import batches as wire
from embedrock.wire.openai import Body

_BATCH: Final = re.compile(r"batch_[0-9a-f]{32}")
_FILE: Final = re.compile(r"file-([0-9a-f]{32})")
_LOOK_S: Final = 20.0
LINES: Final = (b"content-type", b"application/jsonl")
_NO_BODY: Final = Body(0, ())


async def show_batch(serving: Serving, request: Request) -> Answer:
    """GET /v1/batches/{id}: a job of the caller's; or one of Bedrock's own, by its ARN."""
    id_ = unquote(request.path.split("/batches/")[1])
    if ARN.fullmatch(id_):
        return whole(wire.encode(await _invocation(serving, request, id_)))
    if not _BATCH.fullmatch(id_):
        raise unknown_job()
    job = await serving.gateway.background.find(id_, request.caller.name)
    return whole(wire.encode(batches.of_job(job)))


async def cancel_batch(serving: Serving, request: Request) -> Answer:
    """POST /v1/batches/{id}/cancel."""
    id_ = unquote(request.path.split("/")[-2])
    if not _BATCH.fullmatch(id_):
        raise unknown_job()
    job = await serving.gateway.background.cancel(id_, request.caller.name)
    if job.state != "cancelled":
        raise BadRequest(f"The job is {job.state} already.", param="id", code="invalid_value")
    return whole(wire.encode(batches.of_job(job)))


async def file_content(serving: Serving, request: Request) -> Answer:
    """GET /v1/files/{id}/content: a line for each vector of a job."""
    file = _FILE.fullmatch(unquote(request.path.split("/")[-2]))
    if file is None:
        raise unknown_job()
    background = serving.gateway.background
    job = await background.find(f"batch_{file[1]}", request.caller.name)
    found = await background.results(job)
    return Answer(_NO_BODY, [LINES], stream=batches.lines(job, found))


async def _invocation(serving: Serving, request: Request, arn: str) -> wire.Batch:
    """Return a job of Bedrock's: one operator may ask for any; where others have keys too, each for its own."""
    gateway = serving.gateway
    job = await gateway.background.find_started(arn) if gateway.database.is_there else None
    if job is not None:
        if job.owner != request.caller.name:
            raise unknown_job()
        return batches.of_job(job)
    region = ARN.fullmatch(arn)["region"]  # type: ignore[index]  # it was checked
    shared = request.caller.account is not None or len(serving.settings.api_key) > 1
    if shared or region not in gateway.names.regions:
        raise unknown_job()
    try:
        place = gateway.runner.at(region, region)
        return batches.of_invocation(arn, await gateway.runner.look(place.way, arn, time.monotonic() + _LOOK_S))
    except BadRequest as exc:
        raise unknown_job() from exc
