"""`Client` and `AsyncClient`: numpy out, and how near two things are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from embedrock import media, vectors
from embedrock.accounts import Account
from embedrock.errors import InvalidUpstream
from embedrock.faces.sdk import background
from embedrock.faces.sdk.arguments import InvalidArgument, find_place, read_retries, read_seconds
from embedrock.faces.sdk.asking import Ask, Result, ask_here, make_ask
from embedrock.faces.sdk.background import Job
from embedrock.faces.sdk.engines import Engines
from embedrock.faces.sdk.functions import TIMEOUT_S
from embedrock.faces.sdk.link import check_key

_ASYNC: Final = "async_invoke/"

Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Embeddings:
    """The vectors of one call, and what they took."""

    vectors: Vectors  # shape (n, dimensions)
    indexes: tuple[int, ...]  # the input that each vector is of; an input may have several
    model: str  # the catalogue's id
    tokens: int
    reported: bool  # False: some of the tokens are an estimate
    cost_usd: Decimal  # by the catalogue's prices
    truncated: tuple[int, ...] = ()  # texts that were cut
    dropped: tuple[str, ...] = ()  # parameters the model does not know

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        count, dimensions = self.vectors.shape
        return (
            f"Embeddings({count} x {dimensions}, model={self.model!r}, tokens={self.tokens}, cost_usd={self.cost_usd})"
        )


#: What `similarity` compares: a text, a list of inputs as `embed` takes it, a vector, or several as rows.
Side: TypeAlias = str | Sequence[Any] | NDArray[Any] | Embeddings


class _Core:
    """What both clients do."""

    def __init__(
        self,
        model: str | None = None,
        *,
        region: str | None = None,
        account: Account | None = None,
        endpoint: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        num_retries: int | None = None,
        drop_params: bool = False,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say where calls go; nothing is opened before the first one.

        In this process: with the credentials of `account` (else AWS's chain), or with `api_key`, a Bedrock API key,
        in `region` (else the environment's, else the profile's), at another `endpoint` than AWS's if given.
        With `base_url`: at a gateway, with its key in `api_key`.
        `timeout_s` bounds each call as a whole; `num_retries` how often a call that failed is tried again; None: as
        makes sense. Raises InvalidArgument, which is a ValueError and an EmbedrockError.
        """
        if base_url and (region or account or endpoint):
            raise InvalidArgument("With 'base_url' the gateway's operator decides where calls go.", param="base_url")
        self._model = model
        self._region = region
        self._key = check_key(api_key) if api_key else None
        whose = account or Account()
        self._account = whose if base_url else replace(whose, bearer=self._key or whose.bearer)
        self._endpoint = endpoint
        self._base_url = base_url
        self._timeout_s = read_seconds(timeout_s, "timeout_s")
        self._retries = read_retries(num_retries)
        self._drop = drop_params
        self._headers = extra_headers
        self._closed = False

    def close(self) -> None:
        """Take no more calls. Connections are shared with the process's other clients, and end with it."""
        self._closed = True

    def _embed(
        self,
        inputs: str | Sequence[Any],
        model: str | None,
        dimensions: int | None,
        input_type: str | None,
        params: Mapping[str, Any],
    ) -> Job[Embeddings]:
        if self._closed:
            raise InvalidArgument("The client is closed.")
        if "encoding_format" in params:
            raise InvalidArgument(
                "'encoding_format' has no place here: the vectors are numpy's.", param="encoding_format"
            )
        if params.get("background") or _ASYNC in (model or self._model or ""):
            raise InvalidArgument(
                "A job in the background has no vectors yet, and numpy nothing to hold: `embedrock.embedding` begins "
                "one, and tells its batch.",
                param="background" if params.get("background") else "model",
            )
        ask = make_ask(
            model or self._model,
            inputs,
            {"dimensions": dimensions, "input_type": input_type, **params},
            extra_headers=self._headers,
            timeout_s=self._timeout_s,
            retries=self._retries,
            drop=self._drop,
        )
        return self._job_of_gateway(ask, self._base_url) if self._base_url else self._job_here(ask)

    def _job_here(self, ask: Ask) -> Job[Embeddings]:
        place = find_place(
            ask.model, account=self._account, region=self._region, endpoint=self._endpoint, environ=os.environ
        )

        async def job(engines: Engines) -> Embeddings:
            async with engines.here(place) as gateway:
                return _embeddings(await ask_here(gateway, ask, vectors.as_float32))

        return job

    def _job_of_gateway(self, ask: Ask, base_url: str) -> Job[Embeddings]:
        async def job(engines: Engines) -> Embeddings:
            async with engines.remote(base_url) as remote:
                return _embeddings(await remote.ask(ask, vectors.as_float32, self._key))

        return job


class Client(_Core):
    """Embeds, and waits for it. May be used by any number of threads."""

    def embed(
        self,
        inputs: str | Sequence[Any],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: str | None = None,
        **params: Any,
    ) -> Embeddings:
        """Return the vectors of `inputs`: texts, data URIs, token ids, or lists of content parts; any number.

        `params`: the model's own parameters. Raises EmbedrockError; either all inputs are embedded, or none is.
        """
        return background.run(self._embed(inputs, model, dimensions, input_type, params))

    @overload
    def similarity(self, a: str, b: str, **params: Any) -> float: ...

    @overload
    def similarity(self, a: Side, b: Side, **params: Any) -> float | Vectors: ...

    def similarity(self, a: Side, b: Side, **params: Any) -> float | Vectors:
        """Return the cosine of the angle between a and b, from -1 to 1.

        Each is one text or vector, or several (a list of inputs, rows of a matrix, Embeddings). Several make an array:
        of shape (len(a), len(b)), or of one dimension where the other side is one. Texts are embedded, with `params`
        as `embed` takes them.
        """
        sides = [side if isinstance(side, _Rows) else self._embedded(side, params) for side in map(_side, (a, b))]
        return _cosines(*sides)

    def _embedded(self, texts: _Texts, params: Mapping[str, Any]) -> _Rows:
        return texts.rows([self.embed(inputs, **params).vectors for inputs in texts.calls])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Core):
    """As Client, for programs with an event loop, of any thread. To cancel a call is to stop its work."""

    async def embed(
        self,
        inputs: str | Sequence[Any],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: str | None = None,
        **params: Any,
    ) -> Embeddings:
        """As Client.embed."""
        return await background.wait(self._embed(inputs, model, dimensions, input_type, params))

    @overload
    async def similarity(self, a: str, b: str, **params: Any) -> float: ...

    @overload
    async def similarity(self, a: Side, b: Side, **params: Any) -> float | Vectors: ...

    async def similarity(self, a: Side, b: Side, **params: Any) -> float | Vectors:
        """As Client.similarity."""
        sides = [side if isinstance(side, _Rows) else await self._embedded(side, params) for side in map(_side, (a, b))]
        return _cosines(*sides)

    async def _embedded(self, texts: _Texts, params: Mapping[str, Any]) -> _Rows:
        return texts.rows([(await self.embed(inputs, **params)).vectors for inputs in texts.calls])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _embeddings(result: Result[Vectors]) -> Embeddings:
    if result.batches:  # by an alias of the gateway, which nobody here can see through
        ids = [str(batch.get("id")) for batch in result.batches]
        raise InvalidUpstream(f"The gateway began jobs, which have no vectors yet: {', '.join(ids)}.")
    return Embeddings(
        vectors=np.stack(result.vectors),
        indexes=result.indexes,
        model=result.model_id,
        tokens=result.tokens,
        reported=result.reported,
        cost_usd=result.cost_usd,
        truncated=result.truncated,
        dropped=result.dropped,
    )


# ------------------------------------------------------------------------------------------------------- similarity


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Vectors to compare."""

    matrix: NDArray[Any]
    one: bool


@dataclass(frozen=True, slots=True)
class _Texts:
    """Inputs to embed first. `calls`: what each call takes."""

    calls: Sequence[str | Sequence[Any]]
    one: bool

    def rows(self, found: Sequence[Vectors]) -> _Rows:
        return _Rows(np.concatenate(found), self.one)


def _side(value: Side) -> _Rows | _Texts:
    if isinstance(value, Embeddings):
        return _Rows(value.vectors, one=False)
    if isinstance(value, str):
        return _Texts([value], one=True)
    if not isinstance(value, np.ndarray) and any(isinstance(item, str) or _is_parts(item) for item in value):
        # A text and an image, alone in a call, are one vector to Marengo 3: they go apart.
        apart = len(value) == 2 and any(not isinstance(item, str) or media.is_media(item) for item in value)
        return _Texts([[item] for item in value] if apart else [value], one=False)
    matrix = np.asarray(value)
    if matrix.ndim not in (1, 2) or not matrix.size or matrix.dtype.kind not in "fiu":
        raise InvalidArgument("Compare texts, vectors, or rows of vectors.")
    return _Rows(np.atleast_2d(matrix), one=matrix.ndim == 1)


def _is_parts(item: object) -> bool:
    return isinstance(item, list) and bool(item) and isinstance(item[0], dict)


def _cosines(a: _Rows, b: _Rows) -> float | Vectors:
    if a.matrix.shape[1] != b.matrix.shape[1]:
        raise InvalidArgument(f"Vectors of {a.matrix.shape[1]} and {b.matrix.shape[1]} numbers cannot be compared.")
    exact = np.clip(_unit(a.matrix) @ _unit(b.matrix).T, -1, 1)
    if a.one and b.one:
        return float(exact[0, 0])
    cosines = exact.astype(np.float32)
    return cosines.reshape(-1) if a.one or b.one else cosines


def _unit(matrix: NDArray[Any]) -> NDArray[np.float64]:
    # float64: products of float32 matrices are right to five places only.
    numbers = matrix.astype(np.float64)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise InvalidArgument("A vector without length has no direction.")
    unit: NDArray[np.float64] = numbers / lengths
    return unit
