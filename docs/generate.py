"""Writes the pages of the reference that are tables in the code: models, parameters, errors, headers, settings.

`make docs` runs it; a test fails when a page on disk is not what it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from embedrock import settings
from embedrock.catalog import MODELS, MediaLimits, ModelSpec
from embedrock.faces.http import headers
from embedrock.faces.http.error_table import DOCUMENTED
from embedrock.families import FAMILIES

REFERENCE: Final = Path(__file__).parent / "reference"
_MARK: Final = "<!-- Written by `make docs` from the code. -->"

_ERRORS_HEAD: Final = """# Errors

Every error of every path is OpenAI's envelope, with `x-request-id` beside it:

```json
{"error": {"message": "…", "type": "invalid_request_error", "param": "input[3]", "code": "empty_input"}}
```

Match on status, `type`, `code` and `param`; messages may change.
`param` names the parameter, and the index of the input where one is to blame.
Where Bedrock itself finds a text of a Cohere call too long, it does not say which, and `param` is `input`.
Errors that trying again cannot cure carry `x-should-retry: false`.
Every 429 and 503 carries `retry-after` and `retry-after-ms`."""


def models() -> str:
    """Return the page of the models: what each reads, makes, and takes at most, and what it costs."""
    overview = _table(
        ("Model", "Reads", "Dimensions", "A call takes", "A text has at most", "$ a million tokens"),
        (
            (
                f"[`{spec.id}`](#{_anchor(spec.id)})",
                ", ".join(spec.input_modalities),
                ", ".join(f"**{n}**" if n == spec.default_dimensions else str(n) for n in spec.dimensions),
                _calls(spec),
                _lengths(spec),
                str(spec.prices.text_per_million_tokens or ""),
            )
            for spec in MODELS.values()
        ),
    )
    return "\n".join(
        [
            "# Models",
            "",
            "All embedding models of Bedrock. The number of dimensions in bold is the default.",
            "A list of inputs is cut into as many calls as the model needs; order and count stay.",
            "",
            overview,
            *(line for spec in MODELS.values() for line in _model(spec)),
        ]
    )


def _model(spec: ModelSpec) -> list[str]:
    facts = [
        ("Name", spec.name),
        ("Also called", ", ".join(f"`{name}`" for name in spec.aliases)),
        ("Inference profiles", ", ".join(f"`{prefix}.{spec.id}`" for prefix in spec.profile_prefixes)),
        ("End of life", str(spec.end_of_life or "")),
        ("One vector of several parts", "yes" if spec.fuses else ""),
        ("Types of numbers", ", ".join(spec.output_types) if len(spec.output_types) > 1 else ""),
        ("Images", _media(spec.image)),
        ("Audio", _media(spec.audio) if "audio" in spec.input_modalities else ""),
        ("Video", _media(spec.video) if "video" in spec.input_modalities else ""),
        ("Seen quota a minute", _quota(spec)),
        ("Prices, us-east-1", _prices(spec)),
        ("Parameters", f"[{spec.family}](parameters.md#{spec.family})"),
    ]
    lines = ["", f"## {spec.id}", "", _table(("", ""), (fact for fact in facts if fact[1]))]
    if spec.notes:
        lines += ["", *(f"- {note}" for note in spec.notes)]
    return lines


def _calls(spec: ModelSpec) -> str:
    texts = f"{spec.max_inputs_per_call} text{'s' * (spec.max_inputs_per_call > 1)}"
    if "image" not in spec.input_modalities:
        return texts
    images = spec.max_images_per_call or 1
    together = "in any mixture" if spec.mixed_calls else f"or {images} image{'s' * (images > 1)}"
    return f"{spec.max_inputs_per_call} inputs, {together}" if spec.mixed_calls else f"{texts} {together}"


def _lengths(spec: ModelSpec) -> str:
    chars = f"{spec.max_input_chars:,} characters" if spec.max_input_chars else ""
    tokens = f"{spec.max_input_tokens:,} tokens" if spec.max_input_tokens else ""
    return " and ".join(filter(None, (chars, tokens)))


def _media(limits: MediaLimits | None) -> str:
    if limits is None:
        return ""
    parts = [", ".join(limits.formats)]
    if limits.inline_bytes:
        parts.append(f"{limits.inline_bytes:,} bytes inline")
    if limits.max_side_pixels:
        parts.append(f"{limits.max_side_pixels} pixels a side")
    if limits.sync_seconds:
        parts.append(f"{limits.sync_seconds} seconds")
    if limits.sync_s3_bytes:
        parts.append(f"{limits.sync_s3_bytes:,} bytes from S3")
    return "; ".join(filter(None, parts))


def _quota(spec: ModelSpec) -> str:
    quota = spec.quota
    requests = f"{quota.requests_per_minute:,} requests" if quota.requests_per_minute else ""
    tokens = f"{quota.tokens_per_minute:,} tokens" if quota.tokens_per_minute else ""
    return ", ".join(filter(None, (requests, tokens)))


def _prices(spec: ModelSpec) -> str:
    names = {
        "text_per_million_tokens": "a million tokens",
        "text_per_request": "a text",
        "image_each": "an image",
        "audio_per_second": "a second of audio",
        "video_per_second": "a second of video",
    }
    return ", ".join(
        f"${getattr(spec.prices, name)} {unit}"
        for name, unit in names.items()
        if getattr(spec.prices, name) is not None
    )


def parameters() -> str:
    """Return the page of the parameters, by family."""
    lines = [
        "# Parameters of the models",
        "",
        "Beside OpenAI's members, at the top level of the body or in `extra_body` (the top level wins).",
        "Each spelling is accepted: ours, Bedrock's, and the snake_case of Bedrock's. `null` counts as absent.",
        "For each parameter the request holds, else the alias, else `DEFAULT_MODEL_PARAMS`, else the default below.",
        "Any other parameter is refused with `unsupported_parameter`, or dropped where the operator wishes that.",
    ]
    for name, family in FAMILIES.items():
        ids = ", ".join(f"`{spec.id}`" for spec in MODELS.values() if spec.family == name)
        rows = (
            (
                ", ".join(f"`{spelling}`" for spelling in parameter.spellings),
                parameter.expects,
                f"`{parameter.default}`" if parameter.default is not None else "",
                parameter.help,
            )
            for parameter in family.table.all
            if parameter.name != "dimensions" or len(_sizes(name)) > 1
        )
        lines += ["", f"## {name}", "", ids, "", _table(("Parameter", "Takes", "Default", "Meaning"), rows)]
    return "\n".join(lines)


def _sizes(family: str) -> set[int]:
    return {size for spec in MODELS.values() if spec.family == family for size in spec.dimensions}


def errors() -> str:
    """Return the page of the errors."""
    rows = (
        (
            str(row.error.status),
            f"`{row.error.type}`",
            f"`{row.code or 'null'}`",
            row.when,
            row.cure,
        )
        for row in sorted(DOCUMENTED, key=lambda row: row.error.status)
    )
    return f"{_ERRORS_HEAD}\n\n{_table(('Status', '`type`', '`code`', 'When', 'What to do'), rows)}"


def header_page() -> str:
    """Return the page of the headers."""
    return "\n".join(
        [
            "# Headers",
            "",
            "## Of requests",
            "",
            _table(("Header", "Meaning"), ((f"`{name}`", text) for name, text in headers.ASKED.items())),
            "",
            "Of Bedrock's own headers these five reach Bedrock, and no other. A value it does not know is refused.",
            "A guardrail is enforced before the call, by ApplyGuardrail on the texts: what it blocks is refused with",
            "`content_filter`, what it masks is embedded as masked. Media is refused where a guardrail is asked for.",
            "",
            "## Of answers",
            "",
            _table(("Header", "Meaning"), ((f"`{name.decode()}`", text) for name, text in headers.ANSWERED.items())),
        ]
    )


def setting_page() -> str:
    """Return the page of the settings."""
    own = (
        (f"`{settings.PREFIX}{field.name.upper()}`", _default(field.default), str(field.metadata["help"]))
        for field in settings.documented()
    )
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables; or lines of the file, without the prefix and in lower case. The environment wins.",
            "",
            _table(("Variable", "Default", "Meaning"), own),
            "",
            "## Of others, which hold here too",
            "",
            _table(("Variable", "Meaning"), ((f"`{name}`", text) for name, text in settings.KEPT.items())),
            "",
            "## Only in the file",
            "",
            _table(("Member", "Meaning"), ((f"`{name}`", text) for name, text in settings.ONLY_IN_FILE.items())),
        ]
    )


def _default(value: object) -> str:
    if value in ((), None, ""):
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _anchor(title: str) -> str:
    return "".join(letter for letter in title.lower() if letter.isalnum() or letter in "-_")


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "models.md": models,
    "parameters.md": parameters,
    "errors.md": errors,
    "headers.md": header_page,
    "settings.md": setting_page,
}


def text(name: str) -> str:
    """Return what page `name` of the reference must hold."""
    return f"{_MARK}\n\n{PAGES[name]()}\n"


def main() -> None:
    """Write all pages."""
    for name in PAGES:
        (REFERENCE / name).write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
