"""The endpoint at which a container asks for its credentials; an SDK is pointed at it with
AWS_CONTAINER_CREDENTIALS_FULL_URI. It hands out the keys that the emulator checks, so that keys can be rotated.

Source: the container credential provider of AWS's SDKs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .response import Response, as_json
from .sigv4 import Keys

_LIFETIME = timedelta(hours=6)  # as long as those of a task's role


def answer(keys: Keys | None, lifetime: timedelta = _LIFETIME) -> Response:
    """Return the credentials that sign rightly; any, where every signature is taken."""
    found = keys or Keys("ASIAEMULATEDCONTAINER", "for-tests-only", "for-tests-only")
    return as_json(
        {
            "AccessKeyId": found.access_key,
            "SecretAccessKey": found.secret_key,
            "Token": found.session_token or "",
            "Expiration": (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
