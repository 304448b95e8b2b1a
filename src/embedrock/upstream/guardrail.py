"""ApplyGuardrail: the body that asks, and what the answer says of each text. Pure.

An answer in which something was blocked holds one output, the operator's message. One in which things were only
masked is taken to hold an output a text, in order; where it does not, `masked` is None and the texts have to be sent
one by one. AWS documents the shape for one text only.

Source: botocore's service model, ApplyGuardrail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from embedrock.errors import InvalidUpstream
from embedrock.vectors import BROKEN_JSON


class Guardrail(NamedTuple):
    """One of the operator's guardrails: id or ARN, and version (a number, or DRAFT)."""

    identifier: str
    version: str

    @property
    def path(self) -> str:
        """The path to send texts to."""
        return f"/guardrail/{quote(self.identifier, safe='-_.~')}/version/{quote(self.version, safe='')}/apply"


class Verdict(NamedTuple):
    """What a guardrail says of the texts of one call."""

    blocked: bool
    masked: Sequence[str] | None  # the texts as they may be used; None: ask again, one by one
    policies: frozenset[str]  # the ones that stepped in, by AWS's names


class _Output(msgspec.Struct):
    text: str


class _Answer(msgspec.Struct):
    action: str
    outputs: list[_Output] = []
    assessments: list[dict[str, Any]] = []


def build_request(texts: Sequence[str]) -> bytes:
    """Return the body that asks about `texts`, as input to a model."""
    return msgspec.json.encode({"source": "INPUT", "content": [{"text": {"text": text}} for text in texts]})


def parse_response(body: bytes | bytearray, texts: Sequence[str]) -> Verdict:
    """Return what the guardrail says of `texts`. Raises InvalidUpstream."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of ApplyGuardrail.") from exc
    if answer.action == "NONE":
        return Verdict(False, texts, frozenset())
    if answer.action != "GUARDRAIL_INTERVENED":
        raise InvalidUpstream("Bedrock's answer holds an unknown action of a guardrail.")
    stepped_in = [(policy, action) for policy, action in _actions(answer.assessments) if action != "NONE"]
    policies = frozenset(policy for policy, _ in stepped_in)
    masks_only = bool(stepped_in) and all(action == "ANONYMIZED" for _, action in stepped_in)
    if not masks_only:
        return Verdict(True, None, policies)  # also what we cannot read: it is not let through
    masked = [output.text for output in answer.outputs]
    return Verdict(False, masked if len(masked) == len(texts) else None, policies)


def _actions(assessments: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield policy and action of everything that was found."""
    for assessment in assessments:
        for policy, found in assessment.items():
            for findings in found.values() if isinstance(found, dict) else ():
                for finding in findings if isinstance(findings, list) else ():
                    if isinstance(finding, dict) and isinstance(action := finding.get("action"), str):
                        yield policy, action
