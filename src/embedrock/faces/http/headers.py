"""The headers of our own, and what each means; the reference is made of this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REQUEST_ID: Final = b"x-request-id"
PROCESSING_MS: Final = b"openai-processing-ms"
MODEL: Final = b"openai-model"
USAGE: Final = b"x-embedrock-usage"
REGION: Final = b"x-embedrock-region"
CALLS: Final = b"x-embedrock-upstream-calls"
EMPTY: Final = b"x-embedrock-empty"
TRUNCATED: Final = b"x-embedrock-truncated"
DROPPED: Final = b"x-embedrock-dropped-params"
MASKED: Final = b"x-embedrock-masked"
GUARDRAIL: Final = b"x-embedrock-guardrail"
SHOULD_RETRY: Final = b"x-should-retry"
RETRY_AFTER: Final = b"retry-after"
RETRY_AFTER_MS: Final = b"retry-after-ms"
ALLOW: Final = b"allow"
OF_REQUESTS: Final = (
    b"x-ratelimit-limit-requests",
    b"x-ratelimit-remaining-requests",
    b"x-ratelimit-reset-requests",
)
OF_TOKENS: Final = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")

TIMEOUT_MS: Final = b"x-request-timeout-ms"
IDEMPOTENCY_KEY: Final = b"idempotency-key"

#: Of answers.
ANSWERED: Final[Mapping[bytes, str]] = {
    REQUEST_ID: "an id of the request; on every answer",
    PROCESSING_MS: "milliseconds the gateway took; on every answer",
    MODEL: "the id of the model that made the vectors",
    USAGE: "`reported`: the tokens are AWS's; `estimated`: some are a quarter of the characters",
    REGION: "the AWS region that answered; several, where a name stands for a pool of places",
    CALLS: (
        "how many calls to Bedrock it took, retries and guardrail included (one that finds its kept connection closed "
        "is sent again, and counts once)"
    ),
    EMPTY: "indexes of empty inputs that were embedded as one space",
    TRUNCATED: "indexes of texts that were cut, as far as the gateway cut them or the model says so",
    DROPPED: "parameters that the model does not know and that were dropped, where the operator wishes that",
    MASKED: "indexes of texts in which the guardrail masked something",
    GUARDRAIL: "when the trace is enabled: `passed`, `masked` or `blocked`, and the policies that stepped in",
    SHOULD_RETRY: "`false` on errors that trying again cannot cure",
    RETRY_AFTER: "seconds to wait, on every 429 and 503",
    RETRY_AFTER_MS: "the same in milliseconds",
    ALLOW: "the methods of the path, on a 405",
    OF_REQUESTS[0]: "requests a minute that the key may send; these six where there is such a limit",
    OF_REQUESTS[1]: "how many of them it may send now",
    OF_REQUESTS[2]: "when it may send all of them at once again, such as `12ms`, `1s` or `6m0s`",
    OF_TOKENS[0]: "tokens a minute that the key may send",
    OF_TOKENS[1]: "how many of them it may send now",
    OF_TOKENS[2]: "when it may send all of them at once again",
}

#: Of requests.
ASKED: Final[Mapping[str, str]] = {
    "Authorization: Bearer <key or token>": "where the gateway has keys",
    "api-key: <key>": "the same, on the path of Azure's clients only",
    TIMEOUT_MS.decode(): "longest this request may take; only shortens the gateway's own limit",
    IDEMPOTENCY_KEY.decode(): (
        "at most 255 visible characters, for keys of accounts: the same request sent again with it within 24 hours "
        "gets the same answer, and within 72 is charged once"
    ),
    "x-stainless-read-timeout, x-stainless-timeout": "the same in seconds, as OpenAI's clients send it of themselves",
    "X-Amzn-Bedrock-GuardrailIdentifier": "id or ARN of a guardrail that the texts must pass; needs the version too",
    "X-Amzn-Bedrock-GuardrailVersion": "its version: a number, or `DRAFT`",
    "X-Amzn-Bedrock-Trace": "`enabled`, `enabled_full` or `disabled`, in any case",
    "X-Amzn-Bedrock-Service-Tier": "`priority`, `default`, `flex` or `reserved`; passed on",
    "X-Amzn-Bedrock-PerformanceConfig-Latency": "`standard` or `optimized`; passed on",
}
