"""StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes: calls whose answer is written into S3 some time later.

Uncertain: the texts of refusals, and which are given at once: here those of the request, of the body's schema and of
the output's bucket; what is wrong with the input itself makes the call fail. A token that was used before gives the
call it was used for, or a ConflictException when anything else differs (usual for AWS). What AWS writes into
`manifest.json` is unknown; it is there from the start.
"""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from . import async_output, async_request
from .async_output import Place
from .async_request import AsyncRequest
from .control_plane import ACCOUNT, page
from .errors import AwsError, conflict, quota_exceeded, validation
from .fate import PLAIN, Fate
from .models import segmented
from .s3.store import Blob, Store, open_objects
from .settings import Settings

_ID = string.ascii_lowercase + string.digits
_DURATION_S = 0.2


@dataclass(slots=True)
class Job:
    """One asynchronous call.

    `account`: the access key that signed; `config`: where the output goes, as it was sent; `place`: where it really
    goes; `fingerprint`: of what it was started with; `fate`: how it ends.
    """

    arn: str
    model_id: str
    account: str
    region: str
    token: str | None
    fingerprint: bytes
    config: dict[str, Any]
    place: Place
    fate: Fate
    submitted: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    status: str = "InProgress"
    failure: str | None = None

    def end(self, status: str, failure: str | None = None) -> None:
        """Say how it went."""
        self.status, self.failure, self.ended = status, failure, datetime.now(UTC)

    def as_json(self) -> dict[str, Any]:
        """Return the job as AWS shows it."""
        shown = {
            "invocationArn": self.arn,
            "modelArn": f"arn:aws:bedrock:{self.region}::foundation-model/{self.model_id}",
            "clientRequestToken": self.token,
            "status": self.status,
            "failureMessage": self.failure,
            "submitTime": _stamp(self.submitted),
            "lastModifiedTime": _stamp(self.ended or self.submitted),
            "endTime": _stamp(self.ended) if self.ended else None,
            "outputDataConfig": {"s3OutputDataConfig": {**self.config, "s3Uri": self.place.uri}},
        }
        return {name: value for name, value in shown.items() if value is not None}


class AsyncJobs:
    """The calls that were started, and how long they take: `/_emulator/async`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, Job] = {}
        self._by_token: dict[tuple[str, str], Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._duration_s = _DURATION_S
        self._max_running: int | None = None

    def set(self, body: object) -> dict[str, Any]:
        """Take the settings in a posted body. Raises BadSettingError.

        `duration_s`: how long a call takes; `max_running`: how many an account has at once for a model in a region.
        """
        settings = Settings(body)
        duration_s, most = settings.number("duration_s", _DURATION_S), settings.whole("max_running", None)
        settings.done()
        self._duration_s, self._max_running = duration_s, most
        return {"duration_s": duration_s, "max_running": most}

    def as_json(self) -> dict[str, Any]:
        """Return the settings and all calls, oldest first."""
        jobs = [{**job.as_json(), "account": job.account} for job in self._jobs.values()]
        return {"duration_s": self._duration_s, "max_running": self._max_running, "jobs": jobs}

    def clear(self) -> None:
        """Forget all calls, also those that are under way, and the settings."""
        for task in self._tasks:
            task.cancel()
        self._jobs.clear()
        self._by_token.clear()
        self._duration_s, self._max_running = _DURATION_S, None

    def start(self, sent: bytes, region: str, account: str, fate: Fate = PLAIN) -> dict[str, Any]:
        """Answer StartAsyncInvoke. Raises AwsError."""
        request = async_request.read(sent, region)
        # Whichever key signs: an account that changes its keys is still that account.
        if request.token is not None and (known := self._by_token.get((request.token, region))):
            if known.fingerprint != request.fingerprint:
                raise conflict("The client request token was used before with other parameters.")
            return {"invocationArn": known.arn}
        segmented.validate(request.model_id, request.model_input)
        job_id = "".join(secrets.choice(_ID) for _ in range(12))
        job = Job(
            arn=f"arn:aws:bedrock:{region}:{ACCOUNT}:async-invoke/{job_id}",
            model_id=request.model_id,
            account=account,
            region=region,
            token=request.token,
            fingerprint=request.fingerprint,
            config=request.config,
            place=self._place(request, region, job_id),
            fate=fate,
        )
        if self._max_running is not None and self._running_beside(job) >= self._max_running:
            raise quota_exceeded()
        async_output.write_manifest(self._store, job.place, job.arn)
        self._jobs[job.arn] = job
        if request.token is not None:
            self._by_token[request.token, region] = job
        task = asyncio.create_task(self._run(job, request.model_input))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"invocationArn": job.arn}

    def find(self, arn: str, region: str) -> Job:
        """Return a call. Raises AwsError: there is no other error declared for one that is unknown."""
        job = self._jobs.get(arn)
        if job is None or job.region != region:
            raise validation("The provided invocation ARN is invalid.")
        return job

    def model_of(self, arn: str) -> str | None:
        """Return the model of a call, None when there is no such call."""
        return self._jobs[arn].model_id if arn in self._jobs else None

    def list(self, query: Mapping[str, str], region: str) -> dict[str, Any]:
        """Answer ListAsyncInvokes. Raises AwsError."""
        wanted = async_request.read_filter(query)
        found = [
            job.as_json()
            for job in self._jobs.values()
            if job.region == region
            and wanted.status in (None, job.status)
            and (wanted.after is None or job.submitted > wanted.after)
            and (wanted.before is None or job.submitted < wanted.before)
        ]
        return page(query, "asyncInvokeSummaries", found[::-1] if wanted.newest_first else found)

    def _running_beside(self, job: Job) -> int:
        whose = (job.model_id, job.region, job.account)
        beside = [other for other in self._jobs.values() if (other.model_id, other.region, other.account) == whose]
        return sum(other.status == "InProgress" for other in beside)

    def _place(self, request: AsyncRequest, region: str, job_id: str) -> Place:
        """Return where the output goes. Raises AwsError when nothing can be written there."""
        bucket = self._store.buckets.get(request.bucket)
        if bucket is None or bucket.region not in (None, region):
            raise validation("The provided output bucket does not exist in this region.")
        if request.config.get("bucketOwner", bucket.owner) != bucket.owner:
            raise validation("The provided output bucket belongs to another account.")
        return Place(bucket, f"{request.prefix}/{job_id}" if request.prefix else job_id)

    async def _run(self, job: Job, body: dict[str, Any]) -> None:
        due = time.monotonic() + self._duration_s
        objects = open_objects(self._store, job.region)
        make = partial(async_output.make, self._store, job.place, job.model_id, body, objects, job.fate)
        output: dict[str, Blob] = {}
        failure = None
        try:
            output = await asyncio.to_thread(make)
        except AwsError as error:
            failure = error.message
        except FileNotFoundError:  # deleted while it was read
            failure = "The provided S3 object does not exist."
        except Exception:
            job.end("Failed", "The emulator failed; what it wrote to standard error says how.")
            raise
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if failure is None:
            await self._end(job, output)
        else:
            job.end("Failed", failure)

    async def _end(self, job: Job, output: Mapping[str, Blob]) -> None:
        """End a call whose input was good, as its fate has it."""
        fate = job.fate
        missing = fate.output == "missing"
        if fate.status == "Completed" and not missing:
            job.place.put(output)
        if missing:
            job.place.remove(async_output.MANIFEST)
        if fate.status != "InProgress":
            job.end(fate.status, fate.message)
        if missing and fate.late_s is not None:
            await asyncio.sleep(fate.late_s)
            job.place.put(output)
        elif missing or fate.status != "Completed":
            for blob in output.values():
                blob.remove()


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
