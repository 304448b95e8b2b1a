"""`embedding` and `aembedding`, as LiteLLM's users call them for Bedrock.

One signature, told once; the blocking function and the awaitable one are made of it. What LiteLLM's page promises as a
ValueError is one here, with its words; every other refusal is an error of `embedrock.errors`.
Source: LiteLLM's documentation, Bedrock embedding.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from embedrock import media, vectors
from embedrock.accounts import Account
from embedrock.errors import BadRequest
from embedrock.faces.sdk import background
from embedrock.faces.sdk.arguments import InvalidArgument, find_place, read_retries, read_seconds
from embedrock.faces.sdk.asking import Ask, Result, as_numbers, ask_here, make_ask
from embedrock.faces.sdk.background import Job
from embedrock.faces.sdk.engines import Engines
from embedrock.faces.sdk.link import check_key
from embedrock.faces.sdk.objects import Embedding, EmbeddingResponse, HiddenParams, Segment, Usage, read_batch
from embedrock.vectors import Array, Label, Render

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S: Final = 600.0
_PROVIDERS_HERE: Final = (None, "bedrock")
_PROVIDERS_OF_GATEWAYS: Final = (None, "bedrock", "openai", "litellm_proxy")
_ASYNC: Final = "async_invoke/"
_SLOW: Final = ("video", "audio")


def _job(
    model: str,
    input: str | Sequence[Any],  # noqa: A002  # LiteLLM's name
    *,
    dimensions: int | None = None,
    encoding_format: str | None = None,
    user: str | None = None,
    metadata: Mapping[str, str] | None = None,
    input_type: str | None = None,
    timeout: float = TIMEOUT_S,
    num_retries: int | None = None,
    drop_params: bool | None = None,
    extra_headers: Mapping[str, str] | None = None,
    custom_llm_provider: str | None = None,
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
    **params: Any,
) -> Job[EmbeddingResponse]:
    """Return the vectors of `input`: one an input, in its order.

    `model`: an id, a profile, an ARN, or `bedrock/…`, also with a region in it. `input`: what the endpoint takes: a
    text, a data URI, token ids, or a list of such, or of lists of content parts.
    `encoding_format`: "float" (also when None) gives lists of Python's numbers, exactly Bedrock's; "base64" gives text.
    `timeout`: seconds for the whole call. `num_retries`: of each call to Bedrock that failed; None: as makes sense.
    `drop_params`: leave out parameters that the model does not know. `params`: the model's own parameters.
    `api_base`: a gateway's URL: then the gateway is called, with `api_key` as its key, by any name it knows, and
    `aws_…` arguments are refused. Without it `api_key` is a Bedrock API key.

    By the `async_invoke/` route, with `output_s3_uri` and `input_type`, the answer comes at once, without vectors:
    each item has the `batch` of its job, `_hidden_params._invocation_arn` is its name, and `retrieve_batch` tells how
    it stands.

    Raises ValueError where an argument is missing or contradicts another, and for sound and film, which need the
    `async_invoke/` route; else EmbedrockError.
    """
    aws = {
        "aws_access_key_id": aws_access_key_id,
        "aws_secret_access_key": aws_secret_access_key,
        "aws_session_token": aws_session_token,
        "aws_region_name": aws_region_name,
        "aws_profile_name": aws_profile_name,
        "aws_role_name": aws_role_name,
        "aws_session_name": aws_session_name,
        "aws_external_id": aws_external_id,
        "aws_web_identity_token": aws_web_identity_token,
        "aws_bedrock_runtime_endpoint": aws_bedrock_runtime_endpoint,
    }
    said = {name: value for name, value in aws.items() if value}
    _check_arguments(api_base, custom_llm_provider, said, params)
    if not api_base:
        _check_route(model, input, input_type, params)
    members = {
        "dimensions": dimensions,
        "encoding_format": encoding_format,
        "user": user,
        "metadata": metadata,
        "input_type": input_type,
        **params,
    }
    ask = make_ask(
        _without_provider(model) if api_base else model,
        input,
        members,
        extra_headers=extra_headers,
        timeout_s=read_seconds(timeout, "timeout"),
        retries=read_retries(num_retries),
        drop=bool(drop_params),
    )
    as_text = encoding_format == "base64"
    provider = custom_llm_provider or "bedrock"
    if api_base:
        return _job_of_gateway(ask, api_base, api_key and check_key(api_key), as_text=as_text, provider=provider)
    place = find_place(
        ask.model,
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
        region=aws_region_name or None,
        endpoint=aws_bedrock_runtime_endpoint or None,
        environ=os.environ,
    )

    async def job(engines: Engines) -> EmbeddingResponse:
        async with engines.here(place) as gateway:
            return _response(await ask_here(gateway, ask, _render(as_text)), provider)

    return job


def _job_of_gateway(
    ask: Ask, base_url: str, key: str | None, *, as_text: bool, provider: str
) -> Job[EmbeddingResponse]:
    async def job(engines: Engines) -> EmbeddingResponse:
        async with engines.remote(base_url) as remote:
            return _response(await remote.ask(ask, _render(as_text), key), provider)

    return job


def _blocking(make: Callable[P, Job[EmbeddingResponse]]) -> Callable[P, EmbeddingResponse]:
    def embedding(*args: P.args, **kwargs: P.kwargs) -> EmbeddingResponse:
        return background.run(make(*args, **kwargs))

    return _told(embedding, make)


def _awaitable(make: Callable[P, Job[EmbeddingResponse]]) -> Callable[P, Coroutine[Any, Any, EmbeddingResponse]]:
    async def aembedding(*args: P.args, **kwargs: P.kwargs) -> EmbeddingResponse:
        return await background.wait(make(*args, **kwargs))

    return _told(aembedding, make)


def _told(function: F, make: Callable[..., Any]) -> F:
    """Return `function` with what `help` and editors tell about it."""
    function.__qualname__ = function.__name__
    function.__doc__ = make.__doc__
    function.__signature__ = inspect.signature(make).replace(return_annotation="EmbeddingResponse")  # type: ignore[attr-defined]  # inspect reads it
    return function


embedding = _blocking(_job)
aembedding = _awaitable(_job)


def _check_arguments(
    api_base: str | None, provider: str | None, aws: Mapping[str, object], params: Mapping[str, object]
) -> None:
    if provider not in (_PROVIDERS_OF_GATEWAYS if api_base else _PROVIDERS_HERE):
        raise InvalidArgument("'custom_llm_provider' must be 'bedrock'.", param="custom_llm_provider")
    unknown = next((name for name in params if name.startswith("aws_")), None)
    if unknown:  # never dropped: who calls believes that it says whose account is called
        raise InvalidArgument(f"Unknown argument: '{unknown}'.", param=unknown, code="unsupported_parameter")
    if api_base and aws:
        name = next(iter(aws))
        raise InvalidArgument(f"With 'api_base' the gateway's operator decides; '{name}' has no place.", param=name)


def _check_route(model: object, value: object, input_type: str | None, params: Mapping[str, object]) -> None:
    """Raise ValueError where LiteLLM's Bedrock route does, with its words."""
    if isinstance(model, str) and _ASYNC in model:
        uri = params.get("output_s3_uri")
        if not isinstance(uri, str) or not uri.strip():
            raise InvalidArgument("output_s3_uri cannot be empty for the async_invoke route.", param="output_s3_uri")
        if not input_type:
            raise InvalidArgument("input_type is required for the async_invoke route.", param="input_type")
        return
    kinds = (input_type, *map(_slow_kind, _strings(value)))
    if slow := next((kind for kind in kinds if kind in _SLOW), None):
        raise InvalidArgument(
            f"Input type '{slow}' requires async_invoke route: bedrock/async_invoke/<model>.", param="input_type"
        )


def _strings(value: object) -> Iterator[str]:
    """Yield the inputs that may be media, parts of inputs too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(value.get("image_url", value.get("url")))
    elif isinstance(value, list | tuple) and not (value and type(value[0]) is int):
        for item in value:
            yield from _strings(item)


def _slow_kind(text: str) -> str | None:
    """Return what kind of media a string is, as far as its first letters, or the object's name, tell."""
    if text[:5].lower() == "data:" and media.is_media(text):
        return text[5:10].lower()
    if not media.is_s3(text):
        return None
    try:
        return media.read_s3_uri(text, "input").kind
    except BadRequest:
        return None  # told with the input's own name, later


def _without_provider(model: str) -> str:
    """Return a gateway's name for a model, without what says to LiteLLM that there is a gateway."""
    for prefix in ("openai/", "litellm_proxy/"):
        if isinstance(model, str) and model.startswith(prefix):
            return model.removeprefix(prefix)
    return model


def _render(as_text: bool) -> Render[Any]:
    return vectors.as_base64 if as_text else as_numbers


def _response(result: Result[list[float] | Array], provider: str) -> EmbeddingResponse:
    labels = result.labels or [Label(index) for index in range(len(result.vectors))]
    jobs = list(map(read_batch, result.batches))
    return EmbeddingResponse(
        model=result.model,
        data=[Embedding([], index, batch=job) for index, job in enumerate(jobs)]
        or [_item(vector, label) for vector, label in zip(result.vectors, labels, strict=True)],
        usage=Usage(result.tokens, result.tokens),
        _hidden_params=HiddenParams(
            response_cost=float(result.cost_usd),
            custom_llm_provider=provider,
            region_name=",".join(result.regions),
            model_id=result.model_id,
            reported=result.reported,
            upstream_calls=result.calls,
            dropped_params=list(result.dropped),
            empty=list(result.emptied),
            truncated=list(result.truncated),
            masked=list(result.masked),
            guardrail=result.guardrail,
            _invocation_arn=jobs[0].id if jobs else None,
        ),
    )


def _item(vector: list[float] | Array, label: Label) -> Embedding:
    segment = Segment(**msgspec.to_builtins(label.segment)) if label.segment else None
    indices = list(label.input_indices) if label.input_indices else None
    numbers = vector if isinstance(vector, list) else bytes(vector[1:-1]).decode()  # base64 comes as a JSON string
    return Embedding(numbers, label.index, segment=segment, input_indices=indices)
