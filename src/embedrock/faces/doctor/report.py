"""What came of the calls: a table, cures and snippets for people, or JSON for programs."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from embedrock.faces.doctor.check import ARN, TEXT, Login, Outcome
from embedrock.faces.doctor.cures import end_of_life
from embedrock.settings import Settings

NOT_CHECKED: Final = (
    "guardrails (bedrock:ApplyGuardrail)",
    "objects in S3",
    "the buckets of AWS_S3_REGIONAL_BUCKETS",
    "the database and Redis",
    "how far the quotas reach",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the calls of `settings`."""

    settings: Settings
    regions: Sequence[str]
    outcomes: Sequence[Outcome]

    @property
    def ok(self) -> bool:
        """Whether every call worked."""
        return not any(outcome.finding for outcome in self.outcomes)

    def as_json(self) -> str:
        """Return one JSON object; a check's `credentials` is an index."""
        logins = self._logins()
        document = {
            "ok": self.ok,
            "bedrock": self._bedrock(),
            "regions": self.regions,
            "credentials": [{"source": login.said, "key": login.key} for login in logins],
            "checks": [_members(outcome, logins) for outcome in self.outcomes],
            "not_checked": NOT_CHECKED,
            "snippets": self._snippets(),
        }
        return json.dumps(document, indent=2, ensure_ascii=False)

    def as_text(self) -> str:
        """Return the table, below it what is wrong and its cure, and snippets for what works."""
        logins = self._logins()
        lines = [f"Bedrock      {self._bedrock()}"]
        for number, login in enumerate(logins, 1):
            label = f"Credentials {number}" if len(logins) > 1 else "Credentials"
            lines.append(f"{label}  {login.said}{f', key {login.key}' if login.key else ''}")
        lines += ["", *_table([_row(outcome, logins) for outcome in self.outcomes])]
        for (what, cure), places in self._failures().items():
            lines += ["", *_wrapped(f"{', '.join(places)}:"), *_wrapped(what, "  "), *_wrapped(f"Cure: {cure}", "  ")]
        lines += ["", *_wrapped(f"Not checked: {', '.join(NOT_CHECKED)}.")]
        if found := self._snippets():
            start = f"embedrock serve{' --emulator' if self.settings.emulated else ''}"
            lines += ["", f"Ready to paste, while `{start}` runs:"]
            lines += [line for title, code in found.items() for line in ("", f"# {title}", code)]
        return "\n".join(lines)

    def _bedrock(self) -> str:
        where = _endpoint(self.settings)
        return f"the local emulator at {where}, not AWS" if self.settings.emulated else where or "AWS"

    def _logins(self) -> list[Login]:
        return list(dict.fromkeys(outcome.check.login for outcome in self.outcomes))

    def _failures(self) -> dict[tuple[str, str], list[str]]:
        """Return what is wrong and its cure, each once, and where."""
        failures: dict[tuple[str, str], list[str]] = {}
        for check, finding, *_ in self.outcomes:
            if finding:
                called = check.target.spec.id if check.called == ARN else check.called
                place = f"{called} in {check.target.region}"
                failures.setdefault((finding.what, finding.cure), []).append(place)
        return failures

    def _snippets(self) -> dict[str, str]:
        failed = {name for outcome in self.outcomes if outcome.finding for name in outcome.check.names}
        working = [outcome.check for outcome in self.outcomes if outcome.finding is None]
        # A name all of whose places work, and that holds no ARN, is best.
        named = [(name, check) for check in working for name in check.names]
        named.sort(key=lambda pair: ("arn:" in pair[0], pair[0] in failed))
        return snippets(self.settings, named[0][0], named[0][1].target.region) if named else {}


def _members(outcome: Outcome, logins: Sequence[Login]) -> dict[str, object]:
    check, finding, tokens, milliseconds = outcome
    return {
        "names": list(map(_shown, check.names)),
        "model": check.target.spec.id,
        "region": check.target.region,
        "called_as": check.called,
        "credentials": logins.index(check.login),
        "ok": finding is None,
        "dimensions": None if finding else check.wanted.dimensions,
        "tokens": tokens,
        "milliseconds": milliseconds,
        "problem": finding and finding.problem,
        "what": finding and finding.what,
        "cure": finding and finding.cure,
    }


def _row(outcome: Outcome, logins: Sequence[Login]) -> dict[str, str]:
    check, finding, tokens, milliseconds = outcome
    spec = check.target.spec
    own = [name for name in check.names if not name.endswith(spec.id)]
    return {
        "name": _shown(own[0]) + (f" and {len(own) - 1} more" if own[1:] else "") if own else "",
        "model": spec.id,
        "region": check.target.region,
        "called as": check.called if check.called != spec.id else "",
        "credentials": str(logins.index(check.login) + 1) if len(logins) > 1 else "",
        "result": f"FAILS: {finding.problem}" if finding else f"ok{end_of_life(spec)}",
        "dimensions": "" if finding else str(check.wanted.dimensions),
        "tokens": "" if tokens is None else str(tokens),
        "ms": "" if milliseconds is None else str(milliseconds),
    }


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the rows under their heads; a column with nothing in it is left out."""
    heads = [head for head in rows[0] if any(row[head] for row in rows)]
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    cells = [heads, *([row[head] for head in heads] for row in rows)]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, 100, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _endpoint(settings: Settings) -> str | None:
    """Return the endpoint that is set, without the user and password a URL may hold."""
    if not settings.runtime_url:
        return None
    scheme, _, rest = settings.runtime_url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"


def _shown(name: str) -> str:
    return ARN if "arn:" in name else name


def snippets(settings: Settings, model: str, region: str) -> dict[str, str]:
    """Return first lines for clients of the gateway, by title; and for boto3, which does not go through it.

    langchain-openai sends token ids, of a vocabulary that may not be the model's, unless it is told not to.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # not to bind to
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port or '<port>'}/v1"
    key = "<your key>" if settings.api_key else "any"
    name = json.dumps(model, ensure_ascii=False) if "arn:" not in model else '"<the ARN>"'
    body = f'{{"model": {name}, "input": "{TEXT}"}}'
    bedrock = "http://127.0.0.1:4570" if settings.emulated else _endpoint(settings)
    at = f', endpoint_url="{bedrock}"' if bedrock else ""
    note = "To `embedrock emulator`." if settings.emulated else "To Bedrock itself, not through the gateway."
    return {
        "openai": (
            "from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{url}", api_key="{key}")\n'
            f'print(client.embeddings.create(model={name}, input="{TEXT}").data[0].embedding[:3])'
        ),
        "curl": (
            f"curl {url}/embeddings -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
            f"  -d {shlex.quote(body)}"
        ),
        "langchain": (
            "from langchain_openai import OpenAIEmbeddings\n\n"
            "embeddings = OpenAIEmbeddings(\n"
            f'    model={name},\n    base_url="{url}",\n    api_key="{key}",\n'
            "    check_embedding_ctx_length=False,\n)\n"
            f'print(embeddings.embed_query("{TEXT}")[:3])'
        ),
        "boto3": (f'# {note}\nimport boto3\n\nbedrock = boto3.client("bedrock-runtime", region_name="{region}"{at})'),
    }
