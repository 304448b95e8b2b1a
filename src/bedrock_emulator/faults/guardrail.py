"""ApplyGuardrail intervenes whatever the text says, or fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..errors import MISSING_GUARDRAIL, AwsError, unknown_guardrail, validation
from ..response import Response, Struck, as_error
from ..settings import Settings
from .answers import altered

_BLOCKED = {
    "action": "GUARDRAIL_INTERVENED",
    "actionReason": "Guardrail blocked.",
    "outputs": [{"text": "Sorry, the model cannot answer this question."}],
}
_POLICY = {"topicPolicy": {"topics": [{"name": "Emulated", "type": "DENY", "action": "BLOCKED", "detected": True}]}}


@dataclass(frozen=True, slots=True)
class GuardrailFault:
    """`outcome`: `intervened` (default; a denied topic), `missing` (404), `missing_400` (as InvokeModel words it) or
    `error` (500)."""

    NAME: ClassVar[str] = "guardrail"
    OP: ClassVar[str | None] = "ApplyGuardrail"
    outcome: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its outcome."""
        return cls(settings.choice("outcome", ("intervened", "missing", "missing_400", "error"), "intervened"))

    async def strike(self, call: Struck) -> Response:
        """Return the true answer turned into an intervention, or the error."""
        match self.outcome:
            case "missing":
                return as_error(unknown_guardrail())
            case "missing_400":
                return as_error(validation(MISSING_GUARDRAIL))
            case "error":
                return as_error(AwsError(500, "InternalServerException", "The system encountered an unexpected error."))
        return altered(await call.true_answer(), _intervened)


def _intervened(answer: Any) -> Any:
    assessments = [{**_POLICY, **assessment} for assessment in answer["assessments"]]
    return {**answer, **_BLOCKED, "assessments": assessments}
