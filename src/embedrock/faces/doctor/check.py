"""What is checked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from embedrock.accounts import Account
from embedrock.catalog import Target
from embedrock.families.parameters import Wanted
from embedrock.upstream.credentials import CredentialSource

TEXT: Final = "hello"
ARN: Final = "(an ARN)"  # shown in the place of one, which holds the account's id

#: Every kind of failure, and what it is.
PROBLEMS: Final[Mapping[str, str]] = {
    "no_credentials": "there are no AWS credentials",
    "credentials_not_loaded": "AWS's chain found credentials and could not load them",
    "credentials_expired": "temporary credentials have expired",
    "credentials_unknown": "AWS does not know the access key, or its session token",
    "signature_refused": "the secret does not belong to the access key",
    "clock_wrong": "the machine's clock is wrong",
    "api_key_refused": "the Bedrock API key is expired or unknown",
    "iam_denied": "IAM does not allow the call",
    "model_access": "the account has no access to the model",
    "account_restricted": "AWS has not verified the account, or restricts it",
    "profile_needed": "the model wants an inference profile in the region",
    "not_in_region": "the region does not have the model, or the profile",
    "legacy": "the model is legacy, and was not used for 30 days",
    "end_of_life": "the model is gone",
    "throttled": "one call was throttled: the quota may be 0",
    "quota": "another service quota is exceeded",
    "warming": "the model is being loaded",
    "wrong_endpoint": "what answers is not Bedrock, or not in this region",
    "unreachable": "there is no way to the endpoint",
    "tls": "the endpoint's certificate is not trusted",
    "timeout": "no answer in time",
    "bedrock_failed": "Bedrock failed",
    "invalid_answer": "the answer holds no vector as asked for",
    "refused": "Bedrock refused the request",
    "not_supported": "the gateway cannot do it in this version",
}


class Finding(NamedTuple):
    """What is wrong, and what cures it. Holds no secret, and nothing of AWS's own words."""

    problem: str  # one of PROBLEMS
    what: str
    cure: str


@dataclass(slots=True, eq=False)
class Login:
    """Whose credentials calls are made with. `said`: where they come from; `fix`: what to change about them.

    The look-up fills in what nobody knows before it.
    """

    account: Account
    said: str
    fix: str
    credentials: CredentialSource | None = None  # None: a Bedrock API key; or AWS's chain, which was not asked yet
    key: str | None = None  # the access key's id, shortened


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One call to make."""

    target: Target
    login: Login
    wanted: Wanted
    body: bytes
    url: str  # the endpoint
    given_url: bool  # by the operator; else it is AWS's own
    names: list[str] = field(default_factory=list)  # by which callers get there, the configuration's first

    @property
    def host(self) -> str:
        """The endpoint's host, and port where one is given."""
        return self.url.partition("://")[2].partition("/")[0].rpartition("@")[2]

    @property
    def called(self) -> str:
        """What Bedrock is called with, for people."""
        return ARN if self.target.invoke_id.startswith("arn:") else self.target.invoke_id


class Outcome(NamedTuple):
    """What came of a call: tokens, if the model counts them, and milliseconds; or what is wrong."""

    check: Check
    finding: Finding | None = None
    tokens: int | None = None
    milliseconds: int | None = None
