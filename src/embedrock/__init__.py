"""Embeddings for the embedding models of AWS Bedrock: in OpenAI's API, and in Python.

The names below are all that is public. Each is imported when it is first used, so that `import embedrock` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedrock.accounts import Account
    from embedrock.errors import EmbedrockError
    from embedrock.faces.documents import pages, picture
    from embedrock.faces.sdk.client import AsyncClient, Client, Embeddings
    from embedrock.faces.sdk.functions import aembedding, embedding
    from embedrock.faces.sdk.jobs import aretrieve_batch, await_batch, retrieve_batch, wait
    from embedrock.faces.sdk.objects import Batch, EmbeddingResponse

__version__ = "0.1.0"

__all__ = [
    "Account",
    "AsyncClient",
    "Batch",
    "Client",
    "EmbeddingResponse",
    "Embeddings",
    "EmbedrockError",
    "__version__",
    "aembedding",
    "aretrieve_batch",
    "await_batch",
    "embedding",
    "pages",
    "picture",
    "retrieve_batch",
    "wait",
]

_HOMES = {
    "Account": "embedrock.accounts",
    "AsyncClient": "embedrock.faces.sdk.client",
    "Batch": "embedrock.faces.sdk.objects",
    "Client": "embedrock.faces.sdk.client",
    "EmbeddingResponse": "embedrock.faces.sdk.objects",
    "Embeddings": "embedrock.faces.sdk.client",
    "EmbedrockError": "embedrock.errors",
    "aembedding": "embedrock.faces.sdk.functions",
    "aretrieve_batch": "embedrock.faces.sdk.jobs",
    "await_batch": "embedrock.faces.sdk.jobs",
    "embedding": "embedrock.faces.sdk.functions",
    "pages": "embedrock.faces.documents",
    "picture": "embedrock.faces.documents",
    "retrieve_batch": "embedrock.faces.sdk.jobs",
    "wait": "embedrock.faces.sdk.jobs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'embedrock' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
