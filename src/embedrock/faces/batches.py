"""Jobs as all faces show them: as batch objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from embedrock import vectors
from embedrock.families.jobs import Found
from embedrock.store.jobs import FINAL, Job
from embedrock.upstream.async_invoke import Invocation
from embedrock.vectors import Segment
from embedrock.wire.batches import Batch, BatchError, encode_lines

_S: Final = 1_000_000
_STATES: Final = {"running": "in_progress", "completed": "completed", "failed": "failed"}


class _Failure(msgspec.Struct):
    reason: str
    segment: Segment | None = None


def of_job(job: Job) -> Batch:
    """Return a job of the gateway's as a batch."""
    metadata = {"input_index": str(job.input)}
    file = f"file-{job.id.removeprefix('batch_')}"
    done = job.state == "completed"
    if not job.own_folder and job.folder:
        metadata["output_file_id"] = job.folder  # the caller's own
    elif done:
        metadata["output_file_id"] = file
    if done:
        metadata["vectors"] = str(job.vectors)
    if job.message:
        metadata["failure_message"] = job.message
    failures = [_described(failure) for failure in _failures(job)]
    if job.message:
        failures.append(BatchError("job_failed", job.message))
    return Batch(
        job.id,
        job.state if job.state in FINAL else "in_progress",
        job.created_at // _S,
        job.model,
        job.started_at // _S or None,
        job.ended_at // _S or None,
        (job.remove_at or job.give_up_at) // _S,
        file if done else None,
        tuple(failures),
        metadata,
    )


def of_invocation(arn: str, invocation: Invocation) -> Batch:
    """Return a job that somebody started, and that Bedrock knows by its ARN, as a batch."""
    metadata = {"output_file_id": invocation.folder}
    errors: tuple[BatchError, ...] = ()
    if invocation.state == "failed":
        metadata["failure_message"] = invocation.message or "Bedrock does not say why."
        errors = (BatchError("job_failed", metadata["failure_message"]),)
    return Batch(
        arn,
        _STATES[invocation.state],
        int(invocation.submitted),
        invocation.model,
        int(invocation.submitted) or None,
        int(invocation.ended) or None,
        output_file_id=invocation.folder if invocation.state == "completed" else None,
        errors=errors,
        metadata=metadata,
    )


def lines(job: Job, found: Found) -> Iterator[bytes]:
    """Yield the lines of what a job found. Raises InvalidUpstream at a vector that is none."""
    render = vectors.rendering(vectors.as_base64 if job.as_base64 else vectors.as_json, scale=bool(job.scale))
    rendered = (render(array, job.size) for array in found.vectors)
    failures = ((failure.reason, failure.segment) for failure in found.failures)
    return encode_lines(job.input, zip(rendered, found.segments, strict=True), failures)


def _failures(job: Job) -> list[_Failure]:
    return msgspec.json.decode(job.failures, type=list[_Failure]) if job.failures else []


def _described(failure: _Failure) -> BatchError:
    segment = failure.segment
    if segment is None:
        return BatchError(failure.reason, "A part of the input could not be embedded.")
    if segment.start_sec is not None:
        where = f"from {segment.start_sec:g} to {segment.end_sec or 0:g} s"
    else:
        where = f"from character {segment.start_char} to {segment.end_char}"
    return BatchError(failure.reason, f"The segment {where} could not be embedded.")
