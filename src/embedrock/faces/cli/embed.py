"""The command `embed`: texts, pictures and the pages of PDFs to vectors, without a server."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typer

from embedrock.errors import BadRequest
from embedrock.faces import emulated
from embedrock.faces.cli.common import ConfigFile, Emulated, UsageError, find_settings
from embedrock.settings import Settings, SettingsError

if TYPE_CHECKING:
    from embedrock.vectors import Render

_USUAL_MODEL = "amazon.titan-embed-text-v2:0"
_USUAL_OF_FILES: Final = "cohere.embed-v4:0"  # reads pictures, and makes one vector of a page and its name


_SPACE: Final = re.compile(r"\s")


class Input(NamedTuple):
    """One thing to embed. `label` is what people know it by; `file` and `page` are told of what is from a file."""

    label: str
    value: Any
    file: str | None = None
    page: int | None = None


class Format(StrEnum):
    """How `embed` prints vectors."""

    json = "json"
    jsonl = "jsonl"
    npy = "npy"


def embed(
    text: Annotated[
        list[str] | None, typer.Argument(help="Texts, one vector each; or files: pictures, and PDFs, a vector a page.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file of texts, one a line; - is standard input.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Model or alias; {_USUAL_MODEL} when there is none, for files {_USUAL_OF_FILES}, all with --plan."
        ),
    ] = None,
    dimensions: Annotated[int | None, typer.Option(help="Numbers a vector, where the model has a choice.")] = None,
    format: Annotated[  # noqa: A002  # what the option is called
        Format | None, typer.Option(help="json (default), jsonl (a line a text) or npy (float32).")
    ] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="Print how near the texts are instead.")] = False,
    plan: Annotated[
        Path | None, typer.Option(help="Embed nothing: print calls, tokens, cost and time of this file, by model.")
    ] = None,
    config: ConfigFile = None,
    emulator: Emulated = False,
) -> None:
    """Embed texts, pictures and pages of PDFs, without a server.

    embedrock embed "a red bicycle" "a blue bicycle" --similarity --emulator

    embedrock embed report.pdf photo.jpg "sales of last year" --similarity
    """
    if plan is not None:
        if text or file or similarity or emulator or format is not None:
            raise UsageError("--plan takes a file, and nothing to embed or print beside it.")
        _print_plan(_lines(plan), None if model is None else [model], config)
        return
    lines = _lines(file) if file else []
    if file and not lines:
        raise SettingsError(f"{file}: the file is empty")
    if not text and not lines:
        raise UsageError("No text: give some, or --file; --file - reads standard input.")
    if similarity and format is not None:
        raise UsageError("--similarity prints a table and takes no --format.")
    if format is Format.npy and sys.stdout.isatty():
        raise UsageError("npy is binary: send it to a file or a pipe.")
    from embedrock import vectors  # numpy and the rest cost a third of a second
    from embedrock.faces import show

    render: Render[Any] = vectors.as_float32 if similarity or format is Format.npy else vectors.as_json
    inputs = [*(found for given in text or [] for found in _inputs(given)), *(Input(line, line) for line in lines)]
    model = model or (_USUAL_OF_FILES if any(one.file for one in inputs) else _USUAL_MODEL)
    with emulated.running(emulator):
        chosen = find_settings(config)
        rows, owners, tokens = asyncio.run(_embed(chosen, inputs, model, dimensions, render))
    if similarity:
        print(show.similarity_table([inputs[index].label for index in owners], rows))
        if emulator:
            print("From the emulator: near means shared words and word parts. A model knows meanings.")
    elif format is Format.npy:
        show.write_npy(rows, sys.stdout.buffer)
    elif format is Format.jsonl:
        for index, row in zip(owners, rows, strict=True):
            print(f'{{"index":{index},{_origin(inputs[index])}"embedding":{show.json_text(row)}}}')
    else:
        print(f'{{"model":{msgspec.json.encode(model).decode()},"tokens":{tokens},"embeddings":[')
        print(",\n".join(map(show.json_text, rows)) + "]}")


def _print_plan(texts: Sequence[str], models: Sequence[str] | None, config: Path | None) -> None:
    from embedrock import wiring
    from embedrock.faces import estimate, show

    if not texts:
        raise SettingsError("the file is empty")
    chosen = find_settings(config)
    if not chosen.regions:
        chosen = dataclasses.replace(chosen, regions=("us-east-1",))  # nobody is called, and prices are of there
    rows = estimate.estimates(texts, wiring.check(chosen), chosen.quotas, models)
    print(f"{len(texts):,} texts, {len(set(texts)):,} different. Tokens are about a quarter of the characters.")
    print("The quota is yours (EMBEDROCK_QUOTAS), or what a new account was seen to have.\n")
    print(show.estimates_table(rows))


async def _embed(
    chosen: Settings, inputs: Sequence[Input], model: str, dimensions: int | None, render: Render[Any]
) -> tuple[list[Any], list[int], int]:
    """Return the vectors, the index of the input of each, and the tokens."""
    from embedrock.wiring import open_gateway

    async with open_gateway(chosen) as gateway:
        fuses = gateway.names.find(model).spec.fuses
        values = [one.value if fuses or not one.page else one.value[-1:] for one in inputs]  # else the picture alone
        size = chosen.max_inputs
        rows: list[Any] = []
        owners: list[int] = []
        tokens = 0
        for start in range(0, len(values), size):
            try:
                reply = await gateway.embedder.embed(
                    model, values[start : start + size], render=render, dimensions=dimensions
                )
            except BadRequest as exc:
                if start:  # the index it names counts from where this part begins
                    exc.message += f" (input[0] is input {start + 1} of {len(values)})"
                raise
            rows += reply.vectors
            labels = reply.labels
            owners += [start + (labels[at].index if labels else at) for at in range(len(reply.vectors))]
            tokens += reply.tokens
    return rows, owners, tokens


def _inputs(given: str) -> list[Input]:
    """Return what an argument stands for: itself, or the file of a picture, or the pages of a PDF."""
    from embedrock.media import BY_EXTENSION  # starting is what a short text waits for

    path = Path(given)
    extension = path.suffix.lower().removeprefix(".")
    readable = extension == "pdf" or extension in BY_EXTENSION
    there = os.path.exists(given)  # noqa: PTH110  # Path's raises for what is too long to be a name
    if given.startswith("s3://") or not (there or (readable and not _SPACE.search(given))):
        return [Input(given, given)]
    if not there:
        raise UsageError(f"{given}: there is no such file. A text that looks like one goes into a --file of texts.")
    if not readable or not path.is_file():
        raise UsageError(
            f"{given}: neither a picture, a clip nor a PDF. A file of texts goes with --file; so does a text that is "
            "also the name of something here."
        )
    from embedrock.faces import documents

    if extension != "pdf":
        return [Input(path.name, documents.picture(path), given)]
    return [
        Input(f"{path.name}, page {page}", parts, given, page)
        for page, parts in enumerate(documents.pages(path), start=1)
    ]


def _origin(one: Input) -> str:
    if one.file is None:
        return ""
    page = f'"page":{one.page},' if one.page else ""
    return f'"file":{msgspec.json.encode(one.file).decode()},{page}'


def _lines(file: Path) -> list[str]:
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: not a text in UTF-8") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    if "" in lines:
        raise SettingsError(f"{file}:{lines.index('') + 1}: the line is empty, and an empty text has no vector")
    return lines
