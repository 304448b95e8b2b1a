"""`retrieve_batch`, `aretrieve_batch` and `wait`: how a job stands, as LiteLLM's users ask.

A job is named by the ARN that Bedrock gave it, or, at a gateway (`api_base`), by the id that the gateway gave it.
Source: LiteLLM's documentation, Bedrock embedding, checking a job's status.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from typing import Any, Final

from embedrock.accounts import Account
from embedrock.errors import JobFailed, UpstreamTimeout
from embedrock.faces import batches
from embedrock.faces.sdk import background
from embedrock.faces.sdk.arguments import InvalidArgument, find_place, read_seconds
from embedrock.faces.sdk.background import Job
from embedrock.faces.sdk.engines import Engines
from embedrock.faces.sdk.link import check_key
from embedrock.faces.sdk.objects import Batch, read_batch
from embedrock.upstream.async_invoke import ARN
from embedrock.wire.batches import members

TIMEOUT_S: Final = 60.0
_FIRST_S: Final = 0.5
_LONGEST_S: Final = 10.0
_GROWTH: Final = 1.5


def _retrieve(
    batch_id: str,
    custom_llm_provider: str | None = None,
    *,
    timeout: float = TIMEOUT_S,
    api_key: str | None = None,
    api_base: str | None = None,
    aws_access_key_id: str | None = None,
    aws_secret_access_key: str | None = None,
    aws_session_token: str | None = None,
    aws_region_name: str | None = None,
    aws_profile_name: str | None = None,
    aws_role_name: str | None = None,
    aws_session_name: str | None = None,
    aws_external_id: str | None = None,
    aws_web_identity_token: str | None = None,
    aws_bedrock_runtime_endpoint: str | None = None,
) -> Job[Batch]:
    """Return how a job stands: `status` is in_progress, completed, failed, and at a gateway also expired or cancelled.

    `batch_id`: the ARN of the invocation, as `response._hidden_params._invocation_arn` has it; with `api_base`, a
    gateway's URL, the id of the gateway's batch, and `api_key` is its key.
    `metadata["output_file_id"]` is where the results are, `metadata["failure_message"]` why there are none.
    Raises ValueError where an argument is wrong, else EmbedrockError.
    """
    if custom_llm_provider not in (None, "bedrock", *(("openai", "litellm_proxy") if api_base else ())):
        raise InvalidArgument("'custom_llm_provider' must be 'bedrock'.", param="custom_llm_provider")
    if not isinstance(batch_id, str) or not batch_id:
        raise InvalidArgument("'batch_id' must be the name of a job.", param="batch_id")
    seconds = read_seconds(timeout, "timeout")
    if api_base:
        return _at_gateway(batch_id, api_base, api_key and check_key(api_key), seconds)
    if not (arn := ARN.fullmatch(batch_id)):
        raise InvalidArgument("'batch_id' must be the ARN of an invocation, or 'api_base' a gateway.", param="batch_id")
    if aws_region_name and aws_region_name != arn["region"]:
        raise InvalidArgument("The ARN and 'aws_region_name' say different regions.", param="aws_region_name")
    place = find_place(
        batch_id,
        account=Account(
            access_key=aws_access_key_id or None,
            secret_key=aws_secret_access_key or None,
            session_token=aws_session_token or None,
            profile=aws_profile_name or None,
            role_arn=aws_role_name or None,
            role_session_name=aws_session_name or None,
            external_id=aws_external_id or None,
            web_identity_token=aws_web_identity_token or None,
            bearer=api_key and check_key(api_key),
        ),
        region=arn["region"],
        endpoint=aws_bedrock_runtime_endpoint or None,
        environ=os.environ,
    )

    async def job(engines: Engines) -> Batch:
        async with engines.here(place) as gateway:
            runner = gateway.runner
            at = runner.at(arn["region"], arn["region"])
            invocation = await runner.look(at.way, batch_id, time.monotonic() + seconds)
            return read_batch(members(batches.of_invocation(batch_id, invocation)))

    return job


def _at_gateway(batch_id: str, base_url: str, key: str | None, seconds: float) -> Job[Batch]:
    async def job(engines: Engines) -> Batch:
        async with engines.remote(base_url) as remote:
            return read_batch(await remote.batch(batch_id, key, time.monotonic() + seconds))

    return job


def retrieve_batch(*args: Any, **kwargs: Any) -> Batch:
    return background.run(_retrieve(*args, **kwargs))


async def aretrieve_batch(*args: Any, **kwargs: Any) -> Batch:
    return await background.wait(_retrieve(*args, **kwargs))


def wait(batch_id: str, *, max_wait: float = 3600.0, **arguments: Any) -> Batch:
    """Return a job that is completed, however long it takes, up to `max_wait` seconds; blocks.

    `arguments` are those of `retrieve_batch`. Raises JobFailed when it ended otherwise, UpstreamTimeout when it has
    not ended by then.
    """
    return background.run(_until_done(batch_id, max_wait, arguments))


async def await_batch(batch_id: str, *, max_wait: float = 3600.0, **arguments: Any) -> Batch:
    """Return a job that is completed, as `wait` does, without blocking."""
    return await background.wait(_until_done(batch_id, max_wait, arguments))


def _until_done(batch_id: str, max_wait: float, arguments: dict[str, Any]) -> Job[Batch]:
    give_up = time.monotonic() + read_seconds(max_wait, "max_wait")
    look = _retrieve(batch_id, **arguments)

    async def job(engines: Engines) -> Batch:
        pause = _FIRST_S
        while (batch := await look(engines)).status not in ("completed", "failed", "expired", "cancelled"):
            rest_s = give_up - time.monotonic()
            if rest_s <= 0:
                raise UpstreamTimeout("The job has not ended in the time it was given here; it goes on.")
            await asyncio.sleep(min(pause, rest_s))
            pause = min(pause * _GROWTH, _LONGEST_S)
        if batch.status != "completed":
            raise JobFailed(f"The job is {batch.status}: {batch.metadata.get('failure_message', 'no reason is told')}")
        return batch

    return job


def _tell(function: Any) -> None:
    """Give `function` what `help` and editors tell about it."""
    function.__doc__ = _retrieve.__doc__
    function.__signature__ = inspect.signature(_retrieve).replace(return_annotation="Batch")


_tell(retrieve_batch)
_tell(aretrieve_batch)
