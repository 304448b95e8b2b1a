"""What agents are told about each tool: when to use it, what it takes, what it answers.

JSON Schemas without references, because some clients do not follow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

DEFAULT_MODEL: Final = "amazon.titan-embed-text-v2:0"
DEFAULT_RESULTS: Final = 5
DEFAULT_PAIRS: Final = 10
#: Texts that `similarity` compares each with each: its answer grows with the square of them.
MOST_COMPARED: Final = 100
#: Inputs whose vectors are answered in full, as numbers: the SDK prints each again, and the process does nothing else
#: meanwhile, 0.1 s for so many of 3,072 numbers. Base64 costs it next to nothing.
MOST_FULL: Final = 64
#: Vectors that a compact answer of `openai_embedding` shows something of.
MOST_SHOWN: Final = 20

INSTRUCTIONS: Final = (
    "Embedding models of AWS Bedrock. To find the texts that fit a question, use search_texts; to see how alike texts "
    "are, similarity. Both embed and compare for you. Use openai_embedding only when you need vectors themselves. "
    "Scores of one model cannot be compared with those of another."
)

Schema = dict[str, Any]


class Tool(NamedTuple):
    """One tool, as it is listed."""

    name: str
    title: str
    description: str
    takes: Mapping[str, Schema]  # the arguments
    required: tuple[str, ...]
    gives: Schema
    open: bool = False  # takes other arguments too: parameters of the model

    @property
    def input_schema(self) -> Schema:
        """The arguments as a JSON Schema."""
        return {
            "type": "object",
            "properties": dict(self.takes),
            "required": list(self.required),
            "additionalProperties": self.open,
        }


def _object(properties: Mapping[str, Schema], *optional: str) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def _array(items: Schema, description: str) -> Schema:
    return {"type": "array", "items": items, "description": description}


_WHOLE: Final[Schema] = {"type": "integer"}
_NUMBER: Final[Schema] = {"type": "number"}
_STRING: Final[Schema] = {"type": "string"}
_INDEXES: Final[Schema] = {"type": "array", "items": _WHOLE}

_MODEL: Final[Schema] = {
    "type": "string",
    "default": DEFAULT_MODEL,
    "description": "The embedding model, or an alias; list_embedding_models lists them.",
}
_DIMENSIONS: Final[Schema] = {
    "type": "integer",
    "minimum": 1,
    "description": "Numbers a vector, one of the sizes the model has. Its default when absent.",
}


def _top(default: int, what: str) -> Schema:
    return {"type": "integer", "minimum": 1, "default": default, "description": f"At most so many {what}."}


#: What an answer says about how it came about, where there is something to say.
_REMARKS: Final[Mapping[str, Schema]] = {
    "tokens_estimated": {"type": "boolean", "description": "The model does not count tokens: they are our estimate."},
    "emptied": {**_INDEXES, "description": "Indexes of empty inputs, embedded as one space."},
    "truncated": {**_INDEXES, "description": "Indexes of texts that were cut."},
    "masked": {**_INDEXES, "description": "Indexes of texts in which a guardrail masked something."},
    "dropped_params": {"type": "array", "items": _STRING, "description": "Parameters the model does not know."},
}
_EMBEDDED: Final[Mapping[str, Schema]] = {
    "model": {"type": "string", "description": "As it was asked for."},
    "count": {"type": "integer", "description": "How many vectors were made."},
    "tokens": {"type": "integer", "description": "What the model read, and is paid for."},
    **_REMARKS,
}
_VECTOR: Final[Mapping[str, Schema]] = {
    "index": {"type": "integer", "description": "Of the input."},
    "norm": {"type": "number", "description": "Its length; 1 means that dot products are cosines."},
    "first": _array(_NUMBER, "Its first numbers."),
    "embedding": {
        "anyOf": [{"type": "array", "items": _NUMBER}, _STRING],
        "description": "With full_vectors: all numbers, or base64 of little-endian float32.",
    },
    "segment": {"type": "object", "description": "Which part of the input, where one has several vectors."},
    "input_indices": {**_INDEXES, "description": "Where several inputs became one vector."},
}

TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            "openai_embedding",
            "Embed",
            "Turn texts into vectors, with the arguments of OpenAI's embeddings endpoint. The answer is compact: how "
            "many vectors, of how many numbers, and the first few of each. Set full_vectors to get all numbers, which "
            "is thousands of tokens a vector. To compare or search texts use similarity or search_texts instead.",
            {
                "input": {
                    "anyOf": [
                        _STRING,
                        {
                            "type": "array",
                            "minItems": 1,
                            "items": {"anyOf": [_STRING, _WHOLE, {"type": "array", "items": {}}]},
                        },
                    ],
                    "description": "A text, or a list of texts: one vector each, in order. Also token ids; and where "
                    "the model reads them, pictures as data URIs, objects as s3:// URIs, and lists of content parts.",
                },
                "model": _MODEL,
                "dimensions": _DIMENSIONS,
                "encoding_format": {
                    "type": "string",
                    "enum": ["float", "base64"],
                    "default": "float",
                    "description": "How full vectors are written.",
                },
                "user": {"type": "string", "description": "Whom this is for; does not change the vectors."},
                "metadata": {
                    "type": "object",
                    "additionalProperties": _STRING,
                    "description": "Labels of your own; do not change the vectors.",
                },
                "extra_body": {
                    "type": "object",
                    "description": "Parameters of the model, such as input_type and truncate of Cohere's, "
                    "embedding_purpose of Nova's, or normalize. An unknown one is refused.",
                },
                "full_vectors": {
                    "type": "boolean",
                    "default": False,
                    "description": f"Answer all numbers: of at most {MOST_FULL} inputs, or of any number as base64.",
                },
            },
            ("input",),
            _object(
                {
                    **_EMBEDDED,
                    "dimensions": {"type": "integer", "description": "Numbers a vector."},
                    "data": _array(
                        _object(_VECTOR, *(name for name in _VECTOR if name != "index")),
                        f"The vectors in the order of the inputs; the first {MOST_SHOWN} of a compact answer.",
                    ),
                },
                *_REMARKS,
            ),
            open=True,
        ),
        Tool(
            "similarity",
            "Compare texts",
            "How alike texts are in meaning: the cosine of each with each, from -1 to 1; higher is more alike. Use it "
            f"to find duplicates, outliers or groups among 2 to {MOST_COMPARED} texts. What counts as high differs "
            "from model to model: compare scores with each other, not with a fixed number.",
            {
                "texts": {
                    "type": "array",
                    "items": _STRING,
                    "minItems": 2,
                    "maxItems": MOST_COMPARED,
                    "description": "The texts, none of them empty.",
                },
                "model": _MODEL,
                "dimensions": _DIMENSIONS,
                "top": _top(DEFAULT_PAIRS, "pairs, the most alike first"),
            },
            ("texts",),
            _object(
                {
                    **_EMBEDDED,
                    "pairs": _array(
                        _object({"a": _WHOLE, "b": _WHOLE, "score": _NUMBER}),
                        "The most alike pairs, by the texts' indexes.",
                    ),
                    "matrix": _array(
                        {"type": "array", "items": _NUMBER}, "Row i, column j: how alike texts i and j are."
                    ),
                },
                *_REMARKS,
            ),
        ),
        Tool(
            "search_texts",
            "Search texts",
            "Rank texts by how well they fit a query, by meaning rather than by words. Query and texts are embedded "
            "as what they are, on models that tell them apart. Give the texts to search in; nothing is stored.",
            {
                "query": {"type": "string", "minLength": 1, "description": "What to look for: a question or words."},
                "texts": {
                    "type": "array",
                    "items": _STRING,
                    "minItems": 1,
                    "description": "The texts to search in, none of them empty.",
                },
                "model": _MODEL,
                "dimensions": _DIMENSIONS,
                "top": _top(DEFAULT_RESULTS, "results, the best first"),
            },
            ("query", "texts"),
            _object(
                {
                    **_EMBEDDED,
                    "results": _array(
                        _object({"index": _WHOLE, "score": _NUMBER, "text": _STRING}),
                        "The best first: index among the texts, cosine with the query, and how the text begins.",
                    ),
                },
                *_REMARKS,
            ),
        ),
        Tool(
            "list_embedding_models",
            "List embedding models",
            "The embedding models that the other tools take: what they read, the sizes of their vectors, their limits, "
            "and prices in US dollars. Only needed to choose another model than the default.",
            {},
            (),
            _object(
                {
                    "default": {"type": "string", "description": "The model where none is named."},
                    "models": _array(_object({"id": _STRING}), "Name them by their id."),
                    "aliases": _array(_object({"name": _STRING, "model": _STRING}), "More names, of the operator's."),
                }
            ),
        ),
    )
}
