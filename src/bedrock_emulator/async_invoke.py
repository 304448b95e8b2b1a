"""StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes: calls whose answer is written into S3 some time later.

Uncertain: the texts of refusals, and which are given at once: here those of the request, of the body's schema and of
the output's bucket; what is wrong with the input itself makes the call fail. A token that was used before gives the
call it was used for, or a ConflictException when anything else differs (usual for AWS). What AWS writes into
`manifest.json` is unknown; it is there from the start.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import unquote

from . import async_output, catalog, json_body
from .async_output import Place
from .control_plane import ACCOUNT, page
from .errors import AwsError, conflict, constraints, enum_rule, quota_exceeded, validation
from .fate import PLAIN, Fate
from .models import segmented
from .s3.store import Blob, Store, open_objects
from .settings import Settings

STATUSES = ("InProgress", "Completed", "Failed")
_MODEL_ID = re.compile(r"[a-zA-Z_.\-/0-9:]{1,256}")
_URI = re.compile(r"s3://([a-z0-9][.\-a-z0-9]{1,61}[a-z0-9])(/.*)?")
_TOKEN = re.compile(r"[!-~]{1,256}")
_OWNER = re.compile(r"[0-9]{12}")
_ID = string.ascii_lowercase + string.digits
_DURATION_S = 0.2


@dataclass(slots=True)
class Job:
    """One asynchronous call.

    `asked`: all that it was started with but the token; `place`: where its output goes; `fate`: how it ends.
    """

    arn: str
    model_id: str
    account: str
    region: str
    token: str | None
    asked: dict[str, Any]
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
            "outputDataConfig": {**self.asked["outputDataConfig"]},
        }
        config = self.asked["outputDataConfig"]["s3OutputDataConfig"]
        shown["outputDataConfig"] = {"s3OutputDataConfig": {**config, "s3Uri": self.place.uri}}
        return {name: value for name, value in shown.items() if value is not None}


class AsyncJobs:
    """The calls that were started, and how long they take: `/_emulator/async`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
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
        for task in self._tasks.values():
            task.cancel()
        self._jobs.clear()
        self._tasks.clear()
        self._duration_s, self._max_running = _DURATION_S, None

    def start(self, sent: bytes, region: str, account: str, fate: Fate = PLAIN) -> dict[str, Any]:
        """Answer StartAsyncInvoke. Raises AwsError."""
        asked = json_body.parse(sent)
        _check(asked)
        model_id = find_model(asked, region)
        if model_id is None:
            raise validation("The provided model identifier is invalid.")
        if model_id not in segmented.MODEL_IDS:
            raise validation(f"The model {model_id} does not support asynchronous invocation.")
        token = asked.pop("clientRequestToken", None)
        if token is not None and (known := self._known(token, region, account)):
            if known.asked != asked:
                raise conflict("The client request token was used before with other parameters.")
            return {"invocationArn": known.arn}
        segmented.validate(model_id, asked["modelInput"])
        job_id = "".join(secrets.choice(_ID) for _ in range(12))
        arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:async-invoke/{job_id}"
        job = Job(arn, model_id, account, region, token, asked, self._place(asked, region, job_id), fate)
        if self._max_running is not None and self._running_beside(job) >= self._max_running:
            raise quota_exceeded()
        async_output.write_manifest(self._store, job.place, arn)
        self._jobs[arn] = job
        self._tasks[arn] = asyncio.create_task(self._run(job))
        return {"invocationArn": arn}

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
        for name, allowed in (
            ("statusEquals", STATUSES),
            ("sortBy", ("SubmissionTime",)),
            ("sortOrder", ("Ascending", "Descending")),
        ):
            if query.get(name, allowed[0]) not in allowed:
                raise constraints((name, query[name], enum_rule(allowed)))
        after, before = (_read_time(name, query) for name in ("submitTimeAfter", "submitTimeBefore"))
        found = [
            job
            for job in self._jobs.values()
            if job.region == region
            and query.get("statusEquals", job.status) == job.status
            and (after is None or job.submitted > after)
            and (before is None or job.submitted < before)
        ]
        if query.get("sortOrder", "Descending") == "Descending":
            found.reverse()
        return page(query, "asyncInvokeSummaries", [job.as_json() for job in found])

    def _known(self, token: str, region: str, account: str) -> Job | None:
        wanted = (token, region, account)
        return next((job for job in self._jobs.values() if (job.token, job.region, job.account) == wanted), None)

    def _running_beside(self, job: Job) -> int:
        whose = (job.model_id, job.region, job.account)
        beside = [other for other in self._jobs.values() if (other.model_id, other.region, other.account) == whose]
        return sum(other.status == "InProgress" for other in beside)

    def _place(self, asked: dict[str, Any], region: str, job_id: str) -> Place:
        """Return where the output goes. Raises AwsError when nothing can be written there."""
        config = asked["outputDataConfig"]["s3OutputDataConfig"]
        match = _URI.fullmatch(config["s3Uri"])
        assert match is not None  # noqa: S101  # for the type checker: it was checked
        bucket = self._store.buckets.get(match[1])
        if bucket is None or bucket.region not in (None, region):
            raise validation("The provided output bucket does not exist in this region.")
        if config.get("bucketOwner", bucket.owner) != bucket.owner:
            raise validation("The provided output bucket belongs to another account.")
        prefix = (match[2] or "").strip("/")
        return Place(bucket, f"{prefix}/{job_id}" if prefix else job_id)

    async def _run(self, job: Job) -> None:
        due = time.monotonic() + self._duration_s
        objects = open_objects(self._store, job.region)
        body: dict[str, Any] = job.asked["modelInput"]
        try:
            make = partial(async_output.make, self._store, job.place, job.model_id, body, objects, job.fate)
            output = await asyncio.to_thread(make)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        except AwsError as error:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            job.end("Failed", error.message)
        except Exception:
            job.end("Failed", "The emulator failed; what it wrote to standard error says how.")
            raise
        else:
            await self._end(job, output)

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


def find_model(asked: Mapping[str, Any], region: str) -> str | None:
    """Return the model that a call is for, by its id or the ARN of a foundation model; profiles are none."""
    model_id = str(asked.get("modelId")).removeprefix(f"arn:aws:bedrock:{region}::foundation-model/")
    return model_id if model_id in catalog.BY_ID else None


def _check(asked: Mapping[str, Any]) -> None:
    """Raise AwsError for parameters that break the API's own model."""
    output = asked.get("outputDataConfig")
    config = output.get("s3OutputDataConfig") if isinstance(output, dict) else None
    config = config if isinstance(config, dict) else {}
    failures = [
        (name, None, "Member must not be null")
        for name, value in (
            ("modelId", asked.get("modelId")),
            ("modelInput", asked.get("modelInput")),
            ("outputDataConfig.s3OutputDataConfig.s3Uri", config.get("s3Uri")),
        )
        if value is None
    ]
    if failures:
        raise constraints(*failures)
    if not isinstance(asked["modelInput"], dict):
        raise validation("The model input must be a JSON object.")
    for name, value, pattern in (
        ("modelId", asked["modelId"], _MODEL_ID),
        ("outputDataConfig.s3OutputDataConfig.s3Uri", config["s3Uri"], _URI),
        ("outputDataConfig.s3OutputDataConfig.bucketOwner", config.get("bucketOwner"), _OWNER),
        ("clientRequestToken", asked.get("clientRequestToken"), _TOKEN),
    ):
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            rule = f"Member must satisfy regular expression pattern: {pattern.pattern}"
            raise constraints((name, str(value), rule))


def _read_time(name: str, query: Mapping[str, str]) -> datetime | None:
    if name not in query:
        return None
    try:
        read = datetime.fromisoformat(unquote(query[name]))
    except ValueError:
        raise constraints((name, query[name], "Member must be a timestamp")) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
