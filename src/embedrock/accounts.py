"""Whose credentials calls to AWS are made with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Account:
    """Credentials, or where they come from. Nothing set: what botocore's default chain finds.

    Keys, or a profile, may be those that assume the role. A web identity token is the token itself, or a file of it.
    """

    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None
    web_identity_token: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)  # a Bedrock API key; then nothing else counts
    region: str | None = None  # of STS, for a role
    endpoint: str | None = None  # of Bedrock's runtime, in place of the gateway's

    @property
    def is_default(self) -> bool:
        """Whether nothing but a region is said."""
        return self in (Account(), Account(region=self.region))
