"""The command `embed`: texts to vectors, without a server."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from embedrock.errors import BadRequest
from embedrock.faces import emulated
from embedrock.faces.cli.common import ConfigFile, Emulated, UsageError, find_settings
from embedrock.settings import Settings, SettingsError

if TYPE_CHECKING:
    from embedrock.vectors import Render

_USUAL_MODEL = "amazon.titan-embed-text-v2:0"


class Format(StrEnum):
    """How `embed` prints vectors."""

    json = "json"
    jsonl = "jsonl"
    npy = "npy"


def embed(
    text: Annotated[list[str] | None, typer.Argument(help="Texts, one vector each.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file of texts, one a line; - is standard input.")] = None,
    model: Annotated[
        str | None, typer.Option(help=f"Model or alias; {_USUAL_MODEL} when there is none, and all with --plan.")
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
    """Embed texts, without a server.

    embedrock embed "a red bicycle" "a blue bicycle" --similarity --emulator
    """
    if plan is not None:
        if text or file or similarity or emulator or format is not None:
            raise UsageError("--plan takes a file, and nothing to embed or print beside it.")
        _print_plan(_lines(plan), None if model is None else [model], config)
        return
    texts = [*(text or []), *(_lines(file) if file else [])]
    if file and not texts:
        raise SettingsError(f"{file}: the file is empty")
    if not texts:
        raise UsageError("No text: give some, or --file; --file - reads standard input.")
    if similarity and format is not None:
        raise UsageError("--similarity prints a table and takes no --format.")
    if format is Format.npy and sys.stdout.isatty():
        raise UsageError("npy is binary: send it to a file or a pipe.")
    from embedrock import vectors  # numpy and the rest cost a third of a second
    from embedrock.faces import show

    render: Render[Any] = vectors.as_float32 if similarity or format is Format.npy else vectors.as_json
    with emulated.running(emulator):
        chosen = find_settings(config)
        rows, tokens = asyncio.run(_embed(chosen, texts, model or _USUAL_MODEL, dimensions, render))
    if similarity:
        print(show.similarity_table(texts, rows))
        if emulator:
            print("From the emulator: near means shared words and word parts. A model knows meanings.")
    elif format is Format.npy:
        show.write_npy(rows, sys.stdout.buffer)
    elif format is Format.jsonl:
        for index, row in enumerate(rows):
            print(f'{{"index":{index},"embedding":{show.json_text(row)}}}')
    else:
        print(f'{{"model":{msgspec.json.encode(model or _USUAL_MODEL).decode()},"tokens":{tokens},"embeddings":[')
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
    chosen: Settings, texts: Sequence[str], model: str, dimensions: int | None, render: Render[Any]
) -> tuple[list[Any], int]:
    from embedrock.wiring import open_gateway

    async with open_gateway(chosen) as gateway:
        size = chosen.max_inputs
        rows: list[Any] = []
        tokens = 0
        for start in range(0, len(texts), size):
            try:
                reply = await gateway.embedder.embed(
                    model, list(texts[start : start + size]), render=render, dimensions=dimensions
                )
            except BadRequest as exc:
                if start:  # the index it names counts from where this part begins
                    exc.message += f" (input[0] is text {start + 1} of {len(texts)})"
                raise
            rows += reply.vectors
            tokens += reply.tokens
    return rows, tokens


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
