"""A job of Bedrock's, step by step: started once, looked at with growing patience, its result files read, removed.

Each step can be done again: a token starts one job however often it is sent, looking and reading change nothing, and
what is removed is in a folder of the job's own. Who needs the vectors decides how long to wait and what to remember.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import uniform
from secrets import token_hex
from typing import Any, Final, NamedTuple, TypeVar

from embedrock.errors import (
    BadRequest,
    BucketUnusable,
    ContentBlocked,
    EmbedrockError,
    InvalidUpstream,
    JobFailed,
    JobUnfinished,
    S3AccessDenied,
    S3NotFound,
    Unavailable,
    UpstreamQuota,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.families.jobs import Failure, Found, Jobs
from embedrock.inputs import Fused, Item
from embedrock.media import Media, S3Object
from embedrock.service.attempts import Call, Patience
from embedrock.service.checks import MAX_CALL_BYTES, json_bytes
from embedrock.service.lanes import in_lanes
from embedrock.service.staging import FOLDER as STAGED
from embedrock.service.staging import OWN, upload
from embedrock.service.ways import Way, Ways
from embedrock.service.work import Work
from embedrock.upstream.async_invoke import PATH, Invocation, path_of, read_invocation, read_started, start_body
from embedrock.upstream.s3 import S3

T = TypeVar("T")

#: What the gateway writes to its buckets for jobs lies below this, a folder a job.
FOLDER: Final = f"{OWN}/jobs"
_URIS: Final = re.compile(rb'"(s3://[^"]*)"')
#: Labels in place of the model, in the metrics.
STARTS, LOOKS = "job start", "job status"
_FIRST_LOOK_S: Final = 0.25
_LONGEST_S: Final = 15.0  # between two looks: a film takes minutes
_GROWTH: Final = 1.5
_SPREAD: Final = 0.2
_QUOTA_WAIT_S: Final = (1.0, 15.0)  # for one of the jobs that may run at once: 20, until AWS says otherwise
_UNKNOWN_S: Final = 20.0  # a job that was just started may not be known everywhere yet
_FILES_S: Final = 60.0  # a job that is through, and its files are not there yet
_LANES: Final = 4  # jobs of a request that are started at once
_LARGEST_RESULTS: Final = 256_000_000


class Place(NamedTuple):
    """Where jobs of a model run, and the storage beside it. `folder`: of the gateway's own; None: it has no bucket."""

    name: str
    way: Way
    s3: S3
    folder: str | None

    @property
    def passing(self) -> str | None:
        """The gateway's own folder for what is removed when a request ends, and swept soon when it is not."""
        return self.folder and self.folder.removesuffix(FOLDER) + STAGED

    def owns(self, body: bytes) -> bool:
        """Return whether all that a body names in S3 is the gateway's own."""
        own = self.folder and f"{self.folder.removesuffix(FOLDER)}{OWN}/".encode()
        return own is not None and all(uri.startswith(own) for uri in _URIS.findall(body))


class JobRunner:
    """Makes the steps. `s3`: the storage at each place; `buckets`: the gateway's own, by region."""

    def __init__(self, ways: Ways, patience: Patience, s3: Mapping[str, S3], buckets: Mapping[str, str]) -> None:
        self._ways = ways
        self._patience = patience
        self._s3 = s3
        self._buckets = buckets

    def place(self, work: Work[Any]) -> Place:
        """Return where the jobs of a request run: where the gateway has a bucket, if there is a choice."""
        target = work.target
        places = (target, *target.others) if len(work.ways) > 1 else (target,)
        chosen = next((place for place in places if place.region in self._buckets), target)
        return self.at(chosen.place, chosen.region)

    def has_bucket(self, work: Work[Any]) -> bool:
        """Return whether jobs of a request have a place for what they read and write."""
        return work.target.region in self._buckets

    def at(self, name: str, region: str) -> Place:
        """Return a place by its name. Raises JobFailed when the gateway no longer calls it."""
        way, s3, bucket = self._ways.of_jobs(name, region), self._s3.get(name), self._buckets.get(region)
        if way is None:
            raise JobFailed("The gateway no longer calls the region of the job.")
        if s3 is None:
            raise BadRequest(
                "This needs a job of Bedrock's, whose results are in S3, and the gateway has no credentials for S3: a "
                "Bedrock API key is none.",
                code="s3_bucket_missing",
            )
        return Place(name, way, s3, f"s3://{bucket}/{FOLDER}" if bucket else None)

    async def stage(self, place: Place, jobs: Jobs, item: Item, folder: str) -> Item:
        """Return the item as a job can take it: one that may not be, or is too large to be, in the body goes to S3."""
        if isinstance(item, S3Object | Fused) or not must_stage(jobs, item):
            return item
        return await upload(place.s3, f"{folder}/input", item)

    async def start(self, place: Place, body: bytes, deadline: float) -> str:
        """Return the ARN of the job that `body` starts, or has started before; waits for AWS's quota of jobs.

        Raises BucketUnusable when Bedrock cannot use the bucket, and all that the body names in S3 is in the gateway's.
        """
        pause = _QUOTA_WAIT_S[0]
        while True:
            try:
                return await self._call(
                    place.way,
                    STARTS,
                    deadline,
                    lambda way, timeout_s: way.upstream.post(
                        PATH, body, lambda answer: read_started(answer.body), timeout_s=timeout_s
                    ),
                )
            except S3AccessDenied as exc:
                if not place.owns(body):
                    raise
                raise BucketUnusable(
                    f"Bedrock cannot use the gateway's bucket in {place.way.region}, of AWS_S3_REGIONAL_BUCKETS."
                ) from exc
            except UpstreamQuota:
                if time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(_spread(pause))
                pause = min(pause * _GROWTH, _QUOTA_WAIT_S[1])

    async def launch(self, work: Work[Any]) -> list[tuple[str, Invocation]]:
        """Return the jobs of a request, one an input, as ARNs, with how each stands. Nobody here follows them.

        The first failure stops the rest; what was started goes on.
        """
        jobs = work.family.jobs
        place = self.place(work)
        check_buckets(place, work, range(len(work.items)))
        found: dict[int, tuple[str, Invocation]] = {}

        async def launch(position: int) -> None:
            if jobs is None:
                raise TypeError("a family without jobs")
            token = token_hex(16)
            own = f"{place.folder}/{token}"
            item = await self.stage(place, jobs, work.items[position], own) if place.folder else work.items[position]
            model_input = jobs.build_input(work.target.spec, item, work.wanted)
            folder = work.wanted.values.get("output_s3_uri") or f"{own}/results"
            body = start_body(work.target.job_id, model_input, folder, token)
            arn = await self.start(place, body, work.deadline)
            found[position] = arn, await self.look(place.way, arn, work.deadline)

        await in_lanes(range(len(work.items)), _LANES, launch)
        return [found[position] for position in range(len(work.items))]

    async def look(self, way: Way, arn: str, deadline: float) -> Invocation:
        """Return how a job stands."""
        return await self._call(
            way,
            LOOKS,
            deadline,
            lambda way, timeout_s: way.upstream.get(
                path_of(arn), lambda answer: read_invocation(answer.body), timeout_s=timeout_s
            ),
        )

    async def follow(self, way: Way, arn: str, deadline: float) -> Invocation:
        """Return how a job ended. Raises JobUnfinished when it has not by the deadline."""
        begun = time.monotonic()
        pause = _FIRST_LOOK_S
        while True:
            rest_s = deadline - time.monotonic()
            if rest_s <= 0:
                raise JobUnfinished("The job did not end within the request's time; 'background' gives it more.")
            await asyncio.sleep(min(_spread(pause), rest_s))
            pause = min(pause * _GROWTH, _LONGEST_S)
            try:
                invocation = await self.look(way, arn, deadline)
            except (UpstreamThrottled, UpstreamTimeout, Unavailable):
                continue  # the job goes on, whether we can look or not
            except BadRequest:
                if time.monotonic() > begun + _UNKNOWN_S:
                    raise
                continue
            if invocation.state != "running":
                return invocation

    async def collect(self, s3: S3, jobs: Jobs, folder: str, deadline: float) -> Found:
        """Return what the files of a job that is through say. Raises InvalidUpstream when they are not whole."""
        folder = f"{folder.rstrip('/')}/"
        give_up = min(deadline, time.monotonic() + _FILES_S)
        first = await _when_there(lambda: _read(s3, folder + jobs.first_file, _LARGEST_RESULTS), give_up)
        files: dict[str, bytes] = {}
        room = _LARGEST_RESULTS - len(first)
        for uri in jobs.name_files(first):
            if not uri.startswith(folder) or "/../" in uri:
                raise InvalidUpstream("The results of a job name a file that is not the job's.")
            files[uri] = await _when_there(lambda uri=uri, room=room: _read(s3, uri, room), give_up)  # type: ignore[misc]
            room -= len(files[uri])
        return await asyncio.to_thread(jobs.read, first, files)

    async def clear(self, s3: S3, folder: str) -> None:
        """Remove all there is in a folder of the gateway's own."""
        async for found in s3.objects(f"{folder.rstrip('/')}/"):
            await s3.delete(found.uri)

    async def _call(self, way: Way, label: str, deadline: float, send: Callable[[Way, float], Awaitable[T]]) -> T:
        found, _ = await self._patience.call((way,), Call(send, lambda _: None, label, deadline))
        return found


def must_stage(jobs: Jobs, item: Item) -> bool:
    """Return whether a job takes an item from S3 only: because of what it is, or how large."""
    if isinstance(item, S3Object | Fused):
        return False
    return _kind(item) not in jobs.inline or json_bytes(item) > MAX_CALL_BYTES


def check_buckets(place: Place, work: Work[Any], positions: Iterable[int]) -> None:
    """Raise BadRequest for the first item of which a job reads or writes in a bucket that the gateway does not have."""
    jobs = work.family.jobs
    for position in positions if place.folder is None and jobs else ():
        if jobs and ("output_s3_uri" not in work.wanted.values or must_stage(jobs, work.items[position])):
            param = work.param(position)
            raise BadRequest(
                f"'{param}' needs a job of Bedrock's, and there is no bucket in {place.way.region} for what it reads "
                "or writes: AWS_S3_REGIONAL_BUCKETS names one, of the program or of the gateway it calls.",
                param=param,
                code="s3_bucket_missing",
            )


def failed(invocation: Invocation) -> JobFailed:
    """Return the error for a job that Bedrock gave up."""
    return JobFailed(f"Bedrock gave the job up: {invocation.message or 'it does not say why'}")


def check_whole(found: Found) -> None:
    """Raise the error that stands for the first part of an input that could not be embedded, if there is one."""
    if not found.failures:
        return
    reason = found.failures[0].reason
    what = f"{_described(found.failures[0])} could not be embedded ({reason})"
    if len(found.failures) > 1:
        what += f", nor could {len(found.failures) - 1} more"
    raise _error_of(reason, f"{what}.")


def _error_of(reason: str, message: str) -> EmbedrockError:
    if reason.startswith("RAI_VIOLATION"):
        return ContentBlocked(message, param="input", outcome="blocked")
    if reason == "INVALID_CONTENT":
        return BadRequest(message, code="invalid_media")
    return JobFailed(message)


def _described(failure: Failure) -> str:
    segment = failure.segment
    if segment is None:
        return "The input"
    if segment.start_sec is not None:
        return f"The segment from {segment.start_sec:g} to {segment.end_sec or 0:g} s"
    if segment.start_char is not None:
        return f"The segment from character {segment.start_char} to {segment.end_char}"
    return "A segment"


def _spread(seconds: float) -> float:
    return uniform(1 - _SPREAD, 1 + _SPREAD) * seconds  # noqa: S311  # jobs that started together shall not be asked so


def _kind(item: Item) -> str:
    return "text" if isinstance(item, str) else str(item.kind) if isinstance(item, Media) else "fused"


async def _read(s3: S3, uri: str, most: int) -> bytes:
    if (await s3.head(uri)).size > most:
        raise InvalidUpstream("The results of a job are larger than this gateway reads.")
    return b"".join([piece async for piece in s3.get(uri)])


async def _when_there(read: Callable[[], Awaitable[bytes]], give_up: float) -> bytes:
    """Return what `read` returns once the file is there."""
    pause = _FIRST_LOOK_S
    while True:
        try:
            return await read()
        except S3NotFound as exc:
            if time.monotonic() + pause >= give_up:
                raise InvalidUpstream("Bedrock says that a job is through, and its results are not there.") from exc
            await asyncio.sleep(_spread(pause))
            pause = min(pause * _GROWTH, _LONGEST_S)
