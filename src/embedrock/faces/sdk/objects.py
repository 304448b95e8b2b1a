"""What `embedding` returns: objects with each member as attribute and as key, as LiteLLM's and OpenAI's clients have.

They are mappings of their public members; one that is None because it does not apply is not among them.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

_SHOWN_NUMBERS = 3
_SHOWN_CHARS = 12


class Record(Mapping[str, Any]):
    """A dataclass whose fields are keys too."""

    _optional: ClassVar[frozenset[str]] = frozenset()

    def __getitem__(self, key: str) -> Any:
        if key not in self._names():
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        names = [member.name for member in fields(self) if not member.name.startswith("_")]  # type: ignore[arg-type]  # a dataclass
        return [name for name in names if name not in self._optional or getattr(self, name) is not None]

    def model_dump(self) -> builtins.dict[str, Any]:
        """Return the members as plain dicts and lists."""
        return {name: _plain(value) for name, value in self.items()}

    def dict(self) -> builtins.dict[str, Any]:
        """Return the members as plain dicts and lists."""
        return self.model_dump()

    def model_dump_json(self) -> str:
        """Return the members as JSON."""
        return json.dumps(self.model_dump())

    def json(self) -> str:
        """Return the members as JSON."""
        return self.model_dump_json()


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.model_dump()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(eq=False)
class Segment(Record):
    """Which part of its input a vector is of: seconds, or characters."""

    start_sec: float | None = None
    end_sec: float | None = None
    start_char: int | None = None
    end_char: int | None = None
    option: str | None = None
    scope: str | None = None
    _optional = frozenset({"start_sec", "end_sec", "start_char", "end_char", "option", "scope"})


@dataclass(eq=False)
class Batch(Record):
    """A job in the background, as OpenAI's clients know batches. Times are seconds since 1970."""

    id: str  # the ARN of the invocation, or the id that a gateway gave the job
    status: str  # in_progress, completed, failed, expired or cancelled
    created_at: int
    metadata: builtins.dict[str, str]  # output_file_id: where the results are; failure_message: why there are none
    object: Literal["batch"] = "batch"
    endpoint: str = "/v1/embeddings"
    input_file_id: str = ""
    completion_window: str = "24h"
    model: str | None = None
    errors: builtins.dict[str, Any] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: builtins.dict[str, int] | None = None
    usage: builtins.dict[str, int] | None = None


def read_batch(members: Mapping[str, Any]) -> Batch:
    """Return the batch of an answer's members; a gateway of another version may have more of them."""
    known = {field.name for field in fields(Batch)}
    return Batch(**{name: value for name, value in members.items() if name in known})


@dataclass(eq=False)
class Embedding(Record):
    """One vector: numbers, or base64 of little-endian float32; none yet, where it is a job's."""

    embedding: list[float] | str
    index: int  # of the input
    object: Literal["embedding"] = "embedding"
    segment: Segment | None = None
    input_indices: list[int] | None = None  # of the inputs that the one vector stands for
    batch: Batch | None = None  # the job that makes its vectors
    _optional = frozenset({"segment", "input_indices", "batch"})

    def __repr__(self) -> str:
        vector = self.embedding
        if self.batch is not None:
            return f"Embedding(index={self.index}, batch={self.batch.id!r})"
        if isinstance(vector, str):
            shown = f"'{vector[:_SHOWN_CHARS]}…', {len(vector)} characters"
        else:
            shown = f"[{', '.join(map(repr, vector[:_SHOWN_NUMBERS]))}, …], {len(vector)} numbers"
        return f"Embedding(index={self.index}, embedding={shown})"


@dataclass(eq=False)
class Usage(Record):
    """Tokens, as AWS counts them; `_hidden_params.reported` says whether it did."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


@dataclass(eq=False)
class HiddenParams(Record):
    """What a call took, and what was done for it."""

    response_cost: float  # US dollars, by the catalogue's prices
    custom_llm_provider: str
    region_name: str  # several with commas, where a gateway's name stands for several places
    model_id: str  # the catalogue's
    reported: bool  # False: some of the tokens are an estimate
    upstream_calls: int
    dropped_params: list[str] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)  # inputs that were "" and were embedded as one space
    truncated: list[int] = field(default_factory=list)
    masked: list[int] = field(default_factory=list)  # by the guardrail
    guardrail: str | None = None
    _invocation_arn: str | None = None  # of the first input's job; at a gateway the id of its batch
    _optional = frozenset({"guardrail"})


@dataclass(eq=False)
class EmbeddingResponse(Record):
    """The vectors of one call, in the order of its inputs."""

    model: str
    data: list[Embedding]
    usage: Usage
    object: Literal["list"] = "list"
    _hidden_params: HiddenParams = field(kw_only=True, repr=False)
