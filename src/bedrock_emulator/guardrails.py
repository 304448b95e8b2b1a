"""Guardrails in memory: words that block a text, patterns that are masked in it; and ApplyGuardrail over them.

Shapes: the API's service model and the AWS Bedrock User Guide, ApplyGuardrail; reasons and metrics as pasted answers
of AWS have them. Real guardrails find names and addresses with a model; the few kinds here are found by patterns.

Uncertain, because no answer was seen: which text `match` holds for a word of another case, whether text units are
counted over all blocks together, and the texts of most refusals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import constraints, enum_rule, unknown_guardrail, validation
from .invoke_headers import check_guardrail
from .settings import BadSettingError, Settings

_MESSAGE = "Sorry, the model cannot answer this question."  # what AWS's console proposes
_UNIT = 1000  # characters a text unit, AWS's price page
_ACCOUNT = "123456789012"
# Bounded, or held at the start of a run, so that a long text costs no more than its length.
_PII = {
    "EMAIL": r"(?<![\w.%+-])[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
    "PHONE": r"(?<![\w+])\+?\d(?:[ ().-]{0,2}\d){6,14}(?!\w)",
    "URL": r"https?://[^\s<>\"]+",
    "IP_ADDRESS": r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])",
    "CREDIT_DEBIT_CARD_NUMBER": r"(?<!\w)\d(?:[ -]?\d){12,18}(?!\w)",
    "US_SOCIAL_SECURITY_NUMBER": r"(?<!\w)\d{3}-\d{2}-\d{4}(?!\w)",
    "AWS_ACCESS_KEY": r"(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)",
}
_SOURCES, _SCOPES = ("INPUT", "OUTPUT"), ("INTERVENTIONS", "FULL")


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One version of a guardrail. `pii`: names of `_PII`; `patterns`: name → regular expression."""

    id: str
    version: str
    blocked_words: tuple[str, ...]
    masked_pii: tuple[str, ...]
    masked_patterns: dict[str, re.Pattern[str]]
    blocked_message: str

    @classmethod
    def read(cls, body: object) -> Guardrail:
        """Return the guardrail in a posted body; its version may be a number. Raises BadSettingError."""
        if isinstance(body, dict) and type(body.get("version")) is int:
            body = {**body, "version": str(body["version"])}
        settings = Settings(body)
        identifier = settings.text("id")
        if not re.fullmatch("[a-z0-9]+", identifier):
            raise BadSettingError("id: must be of small letters and digits")
        masked_pii = settings.text_list("masked_pii")
        for name in masked_pii:
            if name not in _PII:
                raise BadSettingError(f"masked_pii: there are {', '.join(_PII)}")
        guardrail = cls(
            id=identifier,
            version=settings.text_or_none("version") or "DRAFT",
            blocked_words=settings.text_list("blocked_words"),
            masked_pii=masked_pii,
            masked_patterns={name: _compile(name, text) for name, text in settings.texts("masked_patterns").items()},
            blocked_message=settings.text_or_none("blocked_message") or _MESSAGE,
        )
        if check_guardrail(identifier, guardrail.version):
            raise BadSettingError("version: must be DRAFT or a number from 1 to 99999999")
        settings.done()
        return guardrail

    def as_json(self) -> dict[str, Any]:
        """Return the guardrail as posted, with what was left out filled in."""
        return {
            "id": self.id,
            "version": self.version,
            "blocked_words": list(self.blocked_words),
            "masked_pii": list(self.masked_pii),
            "masked_patterns": {name: pattern.pattern for name, pattern in self.masked_patterns.items()},
            "blocked_message": self.blocked_message,
        }


class Guardrails:
    """All guardrails, by id and version."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Guardrail] = {}

    def post(self, body: object) -> dict[str, Any]:
        """Make a guardrail, in place of one of the same id and version. Raises BadSettingError."""
        guardrail = Guardrail.read(body)
        self._known[guardrail.id, guardrail.version] = guardrail
        return guardrail.as_json()

    def list(self) -> list[dict[str, Any]]:
        """Return all guardrails."""
        return [guardrail.as_json() for guardrail in self._known.values()]

    def remove(self, identifier: str | None = None) -> bool:
        """Remove all versions of one guardrail, or all guardrails; return whether there was one."""
        if identifier is None:
            self._known.clear()
            return True
        found = [key for key in self._known if key[0] == identifier]
        for key in found:
            del self._known[key]
        return bool(found)

    def find(self, identifier: str, version: str, region: str) -> Guardrail:
        """Return a guardrail by its id or ARN. Raises AwsError for one that is malformed, unknown, or elsewhere."""
        if failures := check_guardrail(identifier, version):
            raise constraints(*failures)
        prefix, _, name = identifier.rpartition("/")
        found = self._known.get((name, version))
        if found is None or (prefix and f":bedrock:{region}:" not in prefix):
            raise unknown_guardrail()
        return found


def apply(guardrail: Guardrail, body: Mapping[str, Any], region: str) -> tuple[dict[str, Any], int]:
    """Return ApplyGuardrail's answer to a request body, and the number of content blocks. Raises AwsError.

    `outputs` is empty when nothing was found, the blocked message alone when a word was, and otherwise one text a
    content block, in order, masked where something was found. That there is one output a block is uncertain: clients
    rely on it, AWS shows answers to one block only.
    """
    texts = _texts(body)
    words = [match for text in texts for match in _words(guardrail.blocked_words, text)]
    masked = [_mask(guardrail, text) for text in texts]
    found = [item for _, items in masked for item in items]
    if words:
        reason, outputs = "Guardrail blocked.", [guardrail.blocked_message]
    elif found:
        reason, outputs = "Guardrail masked.", [text for text, _ in masked]
    else:
        reason, outputs = "No action.", []
    usage, coverage = _usage(guardrail, texts), _coverage(texts)
    assessment = {
        **_word_policy(words),
        **_information_policy(guardrail, found, full=body.get("outputScope") == "FULL"),
        "invocationMetrics": {
            "guardrailProcessingLatency": 1,  # milliseconds
            "usage": usage,
            "guardrailCoverage": coverage,
        },
        "appliedGuardrailDetails": {
            "guardrailId": guardrail.id,
            "guardrailVersion": guardrail.version,
            "guardrailArn": f"arn:aws:bedrock:{region}:{_ACCOUNT}:guardrail/{guardrail.id}",
            "guardrailOrigin": ["REQUEST"],
            "guardrailOwnership": "SELF",
        },
    }
    answer = {
        "usage": usage,
        "action": "GUARDRAIL_INTERVENED" if outputs else "NONE",
        "actionReason": reason,
        "outputs": [{"text": text} for text in outputs],
        "assessments": [assessment],
        "guardrailCoverage": coverage,
    }
    return answer, len(texts)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a pattern found in a text; `kind` is the name of a kind of PII, or of a posted pattern."""

    kind: str
    pii: bool
    text: str


def _texts(body: Mapping[str, Any]) -> list[str]:
    """Return the texts of a request, after checking its members."""
    failures: list[tuple[str, str | None, str]] = []
    source, scope, content = body.get("source"), body.get("outputScope", _SCOPES[0]), body.get("content")
    if source is None:
        failures.append(("source", None, "Member must not be null"))
    elif source not in _SOURCES:
        failures.append(("source", str(source), enum_rule(_SOURCES)))
    if scope not in _SCOPES:
        failures.append(("outputScope", str(scope), enum_rule(_SCOPES)))
    if content is None:
        failures.append(("content", None, "Member must not be null"))
    if failures:
        raise constraints(*failures)
    if not isinstance(content, list) or not content:
        raise validation("The content of the request is empty.")
    return [_text(block) for block in content]


def _text(block: object) -> str:
    match block:
        case {"text": {"text": str(text)}}:
            return text
        case {"image": _}:
            raise validation("The guardrails of this emulator read texts only.")
    raise validation("Each block of the content must have a text.")


def _words(words: Sequence[str], text: str) -> Iterable[str]:
    """Yield the blocked words and phrases that stand in `text`, in any case, as they stand there."""
    for word in words:
        if match := re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
            yield match[0]


def _mask(guardrail: Guardrail, text: str) -> tuple[str, list[_Found]]:
    """Return `text` with what was found replaced by its name in braces. Of overlapping finds the first one counts."""
    patterns = [(name, True, re.compile(_PII[name])) for name in guardrail.masked_pii]
    patterns += [(name, False, pattern) for name, pattern in guardrail.masked_patterns.items()]
    spans = [
        (*match.span(), kind, pii) for kind, pii, pattern in patterns for match in pattern.finditer(text) if match[0]
    ]
    parts, found, end = [], [], 0
    for start, stop, kind, pii in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:
            parts += [text[end:start], f"{{{kind}}}"]
            found.append(_Found(kind, pii, text[start:stop]))
            end = stop
    return "".join((*parts, text[end:])), found


def _word_policy(words: Sequence[str]) -> dict[str, Any]:
    if not words:
        return {}
    custom = [{"match": word, "action": "BLOCKED", "detected": True} for word in words]
    return {"wordPolicy": {"customWords": custom, "managedWordLists": []}}


def _information_policy(guardrail: Guardrail, found: Sequence[_Found], *, full: bool) -> dict[str, Any]:
    """Return the finds; with `full` also the kinds of PII that were looked for in vain, which have an empty match."""
    entities = [
        {"match": item.text, "type": item.kind, "action": "ANONYMIZED", "detected": True} for item in found if item.pii
    ]
    if full:
        absent = [name for name in guardrail.masked_pii if name not in {item["type"] for item in entities}]
        entities += [{"match": "", "type": name, "action": "NONE", "detected": False} for name in absent]
    regexes = [
        {
            "name": item.kind,
            "match": item.text,
            "regex": guardrail.masked_patterns[item.kind].pattern,
            "action": "ANONYMIZED",
            "detected": True,
        }
        for item in found
        if not item.pii
    ]
    return {"sensitiveInformationPolicy": {"piiEntities": entities, "regexes": regexes}} if entities or regexes else {}


def _usage(guardrail: Guardrail, texts: Sequence[str]) -> dict[str, int]:
    """Return the text units of each policy; patterns are free, kinds of PII are not."""
    units = max(1, -(-sum(map(len, texts)) // _UNIT))
    return {
        "topicPolicyUnits": 0,
        "contentPolicyUnits": 0,
        "wordPolicyUnits": units if guardrail.blocked_words else 0,
        "sensitiveInformationPolicyUnits": units if guardrail.masked_pii else 0,
        "sensitiveInformationPolicyFreeUnits": units if guardrail.masked_patterns else 0,
        "contextualGroundingPolicyUnits": 0,
        "contentPolicyImageUnits": 0,
    }


def _coverage(texts: Sequence[str]) -> dict[str, Any]:
    characters = sum(map(len, texts))
    return {"textCharacters": {"guarded": characters, "total": characters}}


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise BadSettingError(f"masked_patterns.{name}: {error}") from None
