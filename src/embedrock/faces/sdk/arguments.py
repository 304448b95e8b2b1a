"""What a caller's arguments and environment say: whose account, which region, which endpoint.

The environment is read at each call, since programs change it, and only AWS's variables of it: what somebody set for a
gateway has nothing to do with a program. An argument wins over the environment; the order of the variables for the
region is LiteLLM's.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from embedrock import settings
from embedrock.accounts import Account
from embedrock.errors import BadRequest
from embedrock.faces.http import bedrock_headers
from embedrock.faces.http.bedrock_headers import BedrockHeaders
from embedrock.settings import Settings, SettingsError

LONGEST_S: Final = 86_400.0  # a call may take; its own timeout is shorter
_REGION_VARIABLES: Final = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
_BEARER: Final = "AWS_BEARER_TOKEN_BEDROCK"
_IN_PATH: Final = re.compile(r"(?:^|/)([a-z]{2,4}(?:-[a-z]{1,12}){1,3}-[0-9]{1,2})/")
_IN_ARN: Final = re.compile(r"aws[a-z-]{0,16}:bedrock:([a-z0-9-]{1,40}):")


class InvalidArgument(BadRequest, ValueError):
    """An argument is missing, wrong, or contradicts another. A ValueError too: that is what Python's users catch."""

    code = "invalid_value"


class Place(NamedTuple):
    """Where calls go, and with whose credentials. Places with equal keys share an engine."""

    key: Hashable
    settings: Settings  # without a region when only the AWS profile tells it


def find_place(
    model: str, *, account: Account, region: str | None, endpoint: str | None, environ: Mapping[str, str]
) -> Place:
    """Return the place that the arguments, the model's name and the environment say. Raises InvalidArgument."""
    _check(account)
    said = _region_in(model)
    if said and region and said != region:
        raise InvalidArgument("The model's name and the region say different regions.", param="model")
    variables = {name: value for name, value in environ.items() if name.startswith("AWS_")}
    region = said or region or next((variables[name] for name in _REGION_VARIABLES if variables.get(name)), None)
    if region:
        variables = {name: value for name, value in variables.items() if name not in _REGION_VARIABLES}
        variables.pop("AWS_BEDROCK_REGIONS", None)
        variables["AWS_REGION"] = region
    if endpoint or account.endpoint:
        variables["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = endpoint or account.endpoint or ""
    whose = replace(account, bearer=None, endpoint=None)
    if account.bearer:
        variables[_BEARER] = account.bearer
    elif not whose.is_default:
        variables.pop(_BEARER, None)  # the caller says whose credentials, and these are not
    try:
        found = settings.load(variables)
    except SettingsError as exc:
        raise InvalidArgument(str(exc)) from None
    whose = Account() if found.bearer_token else _with_keys_of(variables, whose)
    found = replace(found, account=whose, max_inputs=sys.maxsize, timeout_s=LONGEST_S)
    known = found.bearer_token or (whose.access_key and not whose.role_arn)
    chain = () if known and found.regions else tuple(sorted(variables.items()))  # it reads more than is named here
    key = (
        whose,
        found.regions,
        found.runtime_url,
        found.s3_url,
        tuple(sorted(found.buckets.items())),
        found.bearer_token,
        found.ca_bundle,
        found.fips,
        found.dual_stack,
        chain,
    )
    return Place(key, found)


def _check(account: Account) -> None:
    if bool(account.access_key) != bool(account.secret_key):
        raise InvalidArgument("An access key and its secret key need each other.", param="aws_secret_access_key")
    if account.session_token and not account.access_key:
        raise InvalidArgument("A session token needs the keys it belongs to.", param="aws_session_token")
    for param, value in (
        ("aws_session_name", account.role_session_name),
        ("aws_external_id", account.external_id),
        ("aws_web_identity_token", account.web_identity_token),
    ):
        if value and not account.role_arn:
            raise InvalidArgument(f"'{param}' is of a role, and there is none.", param=param)


def _region_in(model: str) -> str | None:
    """Return the region that a model's name says by itself, as a part of its path or of an ARN."""
    path, _, arn = model.partition("arn:")
    found = _IN_PATH.search(path) or _IN_ARN.match(arn)
    return found[1] if found else None


def _with_keys_of(environ: Mapping[str, str], account: Account) -> Account:
    """Return `account` with the environment's keys where AWS's chain would begin with them.

    So they are those of this call, whatever the environment says by the time they are needed.
    """
    keys = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if account.access_key or account.profile or account.web_identity_token or not all(keys):
        return account
    token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN")
    return replace(account, access_key=keys[0], secret_key=keys[1], session_token=token or None)


def read_headers(given: Mapping[str, str] | None) -> BedrockHeaders:
    """Return the headers a caller sends to Bedrock. Raises BadRequest for one that is not among Bedrock's five."""
    if not given:
        return bedrock_headers.NONE
    raw = [(_latin(name.lower()), _latin(str(value))) for name, value in given.items()]
    found = bedrock_headers.read(dict(raw), raw)
    passed = {name for name, _ in found.forwarded}
    for name in given:
        if name.lower() not in passed:
            raise InvalidArgument("'extra_headers' takes Bedrock's own five headers only.", param="extra_headers")
    return found


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def read_seconds(value: object, param: str) -> float:
    """Return a timeout in seconds. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidArgument(f"'{param}' must be a number of seconds, more than 0.", param=param)
    return min(float(value), LONGEST_S)


def read_retries(value: object) -> int | None:
    """Return a number of retries, or None. Raises InvalidArgument."""
    if value is not None and (type(value) is not int or value < 0):
        raise InvalidArgument("'num_retries' must be a whole number, 0 or more.", param="num_retries")
    return value
