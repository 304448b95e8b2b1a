"""What each failure means, and what cures it, in words. Pure.

The gateway's public errors are coarse on purpose; here AWS's own name and text of an error decide. They are matched
and never shown: they can hold ARNs and account ids.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

from embedrock.catalog import ModelSpec, Target
from embedrock.errors import (
    EmbedrockError,
    InvalidUpstream,
    ModelAccessDenied,
    ModelNotFound,
    ModelNotSupported,
    ModelWarming,
    Unavailable,
    UpstreamAuthFailed,
    UpstreamQuota,
    UpstreamThrottled,
    UpstreamTimeout,
)
from embedrock.faces.doctor.check import Check, Finding, Login
from embedrock.upstream import aws_errors

_KEYS: Final = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_PROFILE, or a Bedrock API key in "
    "AWS_BEARER_TOKEN_BEDROCK; on AWS, give the instance or container a role. Without an AWS account: --emulator."
)


# --------------------------------------------------------------------------------------------------- before a call


def no_credentials() -> Finding:
    """Return the finding for a chain that ends in nothing."""
    return Finding("no_credentials", "There are no AWS credentials.", _KEYS)


def not_loaded(login: Login, exc: BaseException | None) -> Finding:
    """Return what it means that credentials could not be loaded; the exception's own words may hold secrets."""
    kind = type(exc).__name__ if exc is not None else "no reason given"
    what = f"The credentials could not be loaded ({login.said}: {kind})."
    if kind == "ProfileNotFound":
        cure = "Set AWS_PROFILE (or the entry's aws_profile_name) to one that `aws configure list-profiles` lists."
    elif re.search("SSO|Token|Login", kind):
        cure = f"Sign in anew: {login.fix}."
    elif kind == "ClientError":
        cure = f"Allow sts:AssumeRole for {login.fix}, in the policy of who assumes and in the role's trust policy."
    else:
        cure = f"Check {login.fix}."
    return Finding("credentials_not_loaded", what, cure)


def late_credentials(login: Login) -> Finding:
    """Return the finding for a look-up that hangs."""
    what = f"The look-up of the credentials did not end in time ({login.said})."
    return Finding("timeout", what, f"Check {login.fix}, and the network to what hands them out.")


def no_time(check: Check) -> Finding:
    """Return the finding for a call that could not begin, since others hang."""
    return Finding("timeout", "There was no time left to make the call.", _slow(check))


# ------------------------------------------------------------------------------------------------------ no answer


def of_no_answer(check: Check, error: EmbedrockError) -> Finding:
    """Return what it means that there was no answer, or none with a vector in it."""
    cause = error.__cause__
    if isinstance(error, InvalidUpstream):
        cure = "See whether something between here and AWS changes answers; else report it to Embedrock."
        return Finding("invalid_answer", error.message, cure)
    if isinstance(error, UpstreamTimeout):
        return Finding("timeout", f"{check.host} did not answer in time.", _slow(check))
    if isinstance(cause, ssl.SSLCertVerificationError):
        cure = (
            "Where a proxy or firewall has certificates of its own, set AWS_CA_BUNDLE to a file of them; "
            "else look at this machine's clock and at the host's name."
        )
        return Finding("tls", f"The TLS certificate of {check.host} is not trusted.", cure)
    if isinstance(cause, ssl.SSLError):
        return Finding(
            "wrong_endpoint", f"{check.host} does not speak TLS, or none that is understood here.", _endpoint(check)
        )
    what = f"The connection to {check.host} broke."
    if isinstance(cause, socket.gaierror):
        what = f"No address is known for {check.host}."
    elif cause is not None:
        what = f"{check.host} could not be reached."
    return Finding("unreachable", what, _endpoint(check))


def _slow(check: Check) -> str:
    return f"Try again; if it stays so, look at the network. {_endpoint(check)}"


def _endpoint(check: Check) -> str:
    if check.given_url:
        variables = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME and AWS_ENDPOINT_URL"
        where = "the entry's endpoint" if check.login.account.endpoint else variables
        return f"Check {where}: host, port, and http or https. Without it AWS's own endpoint is called."
    return (
        f"Check that Bedrock is in the region {check.target.region}, and DNS and the way out: HTTPS_PROXY is not used; "
        "the address of a VPC endpoint goes into AWS_ENDPOINT_URL_BEDROCK_RUNTIME."
    )


# -------------------------------------------------------------------------------------------------- AWS's answers


def of_answer(check: Check, status: int, name: str, text: str) -> Finding:
    """Return what an answer other than 200 means. `name` and `text` are AWS's, empty where it has none."""
    unnamed = not name and "API Key" not in text and 300 <= status < 500 and status not in (408, 429)
    if unnamed or name == "UnknownOperationException" or "scoped to a valid region" in text:
        what = f"What answers at {check.host} is not Bedrock's runtime in {check.target.region}."
        return Finding("wrong_endpoint", what, _endpoint(check))
    match aws_errors.to_error(status, name, text):
        case UpstreamAuthFailed():
            return _login_refused(check, name, text)
        case ModelAccessDenied():
            return _denied(check, text)
        case ModelNotFound():
            return _not_found(check, text)
        case ModelNotSupported():
            return _profile_needed(check)
        case UpstreamThrottled():
            return Finding("throttled", "Bedrock throttles the model, although this is one call.", _quota(check))
        case UpstreamQuota():
            cure = f"See Service Quotas, Amazon Bedrock, in {check.target.region}; ask for more there, or AWS Support."
            return Finding("quota", "A service quota of the AWS account is exceeded.", cure)
        case ModelWarming():
            return Finding("warming", "Bedrock is still loading the model.", "Try again in a minute.")
        case UpstreamTimeout():
            return Finding("timeout", "The model did not answer in the time Bedrock gives it.", _slow(check))
        case Unavailable():
            what = f"Bedrock failed with status {status}{_named(name)}."
            return Finding("bedrock_failed", what, "Try again; if it stays so, see AWS Health for the region.")
    what = f"Bedrock refused a request of one word with status {status}{_named(name)}."
    return Finding("refused", what, "Check the alias's params and DEFAULT_MODEL_PARAMS; else report it to Embedrock.")


def _named(name: str) -> str:
    return f" ({name})" if re.fullmatch(r"[A-Za-z]{1,60}", name) else ""


def _login_refused(check: Check, name: str, text: str) -> Finding:
    login = check.login
    key = f" {login.key}" if login.key else ""
    if "ignature expired" in text or "not yet current" in text or name == "RequestExpired":
        cure = "Set this machine's clock, say by NTP: AWS takes signatures that are at most 5 minutes off."
        return Finding("clock_wrong", "The clock of this machine is wrong, as AWS sees it.", cure)
    if login.account.bearer:
        why = "it has expired" if "expired" in text.lower() else "it is not known, or of another region"
        cure = f"Make a new one in the Bedrock console of {check.target.region}, under API keys, for {login.fix}."
        return Finding("api_key_refused", f"AWS refuses the Bedrock API key: {why}.", cure)
    if name.startswith("ExpiredToken"):
        what = f"The temporary credentials{key} have expired ({login.said})."
        return Finding("credentials_expired", what, f"Renew them: {login.fix}.")
    if name in aws_errors.REFUSED_CREDENTIALS:
        what = f"AWS does not know the access key{key}, or its session token ({login.said})."
        cure = f"Check {login.fix}: the key was deleted, or is of another partition, or temporary without its token."
        return Finding("credentials_unknown", what, cure)
    what = f"AWS refuses the signature made with the access key{key} ({login.said})."
    return Finding("signature_refused", what, f"Check {login.fix}: the secret does not belong to the key.")


def _denied(check: Check, text: str) -> Finding:
    spec, region = check.target.spec, check.target.region
    if "aws-marketplace" in text or "access to the model" in text or "access is denied" in text:
        cure = f"Open {spec.name} of {spec.provider} in the Bedrock console of {region}: model catalog, or model access"
        if spec.provider != "Amazon":
            cure += "; its first use needs aws-marketplace:Subscribe and aws-marketplace:ViewSubscriptions"
        return Finding("model_access", "The AWS account has no access to the model.", f"{cure}. It can take minutes.")
    if "Operation not allowed" in text or "account is not authorized" in text:
        what = "AWS has not verified the account for Bedrock, or restricts it (operation not allowed)."
        return Finding(
            "account_restricted", what, "Open a case with AWS Support, for the account: IAM cannot grant it."
        )
    grant = f"Allow bedrock:InvokeModel on {_resources(check.target)}"
    if check.login.account.bearer:
        grant += "; and bedrock:CallWithBearerToken on * for the user of the API key"
    if "explicit deny" in text:
        grant = f"Find the statement that denies it, perhaps in a service control policy. {grant}"
    return Finding("iam_denied", f"IAM does not allow the call ({check.login.said}).", f"{grant}.")


def _resources(target: Target) -> str:
    """Return the ARNs a policy has to name, with the account's id left for the reader.

    Source: AWS Bedrock User Guide, prerequisites for inference profiles.
    """
    start = "arn:aws-us-gov:bedrock" if target.region.startswith("us-gov-") else "arn:aws:bedrock"
    model = f"foundation-model/{target.spec.id}"
    if target.invoke_id == target.spec.id:
        return f"{start}:{target.region}::{model}"
    if target.invoke_id.startswith("arn:"):
        return f"the ARN that is called, and on {start}:*::{model} in each region it leads to"
    profile = f"{start}:{target.region}:<account>:inference-profile/{target.invoke_id}"
    nowhere = f", and on {start}:::{model}" if target.invoke_id.startswith("global.") else ""
    return f"{profile}, and on {start}:*::{model} in each region it leads to{nowhere}"


def _not_found(check: Check, text: str) -> Finding:
    target, spec = check.target, check.target.spec
    if "end of its life" in text or "Legacy" in text:
        cure = f"Move to a current model{end_of_life(spec)}, and embed all anew: vectors of two models do not compare."
        if "end of its life" in text:
            return Finding("end_of_life", "The model has reached the end of its life on Bedrock.", cure)
        return Finding("legacy", "The model is legacy, and the account has not used it for 30 days.", cure)
    fitting = [profile for profile in _profiles(spec, target.region) if profile != target.invoke_id]
    regions = [region for region in spec.on_demand_regions if region != target.region]
    profiles = [f"{prefix}.{spec.id}" for prefix in spec.profile_prefixes]
    ways = [
        f"In {target.region}, name {' or '.join(fitting)}." if fitting else "",
        f"Regions the catalogue knows it in: {', '.join(regions)}." if regions else "",
        f"Its profiles: {', '.join(profiles)}." if profiles else "",
        "AWS's pages have the full list of regions.",
    ]
    what = f"Bedrock does not know {check.called} in {target.region}."
    return Finding("not_in_region", what, " ".join(filter(None, ways)))


def _profile_needed(check: Check) -> Finding:
    spec, region = check.target.spec, check.target.region
    what = f"In {region} the model is called only through an inference profile."
    fitting = _profiles(spec, region)
    cure = (
        f"Name {' or '.join(fitting)} instead." if fitting else "Use another region: no profile is known for this one."
    )
    return Finding("profile_needed", what, cure)


def _profiles(spec: ModelSpec, region: str) -> list[str]:
    """Return the profiles of a model that can be called from a region, as far as their names tell."""
    starts = {"apac": "ap-", "global": ""}
    return [
        f"{prefix}.{spec.id}"
        for prefix in spec.profile_prefixes
        if region.startswith(starts.get(prefix, f"{prefix}-")) and (prefix == "us-gov") == region.startswith("us-gov-")
    ]


def end_of_life(spec: ModelSpec) -> str:
    """Return when a legacy model ends, in brackets; "" when nobody says."""
    return f" (AWS names {spec.end_of_life} as its end)" if spec.end_of_life else ""


def _quota(check: Check) -> str:
    target = check.target
    kinds = {target.spec.id: "On-demand", f"global.{target.spec.id}": "Global cross-region"}
    return (
        "Where nothing else uses it, the quota may be 0, as in new accounts. In Service Quotas, Amazon Bedrock, "
        f"{target.region}, look at '{kinds.get(target.invoke_id, 'Cross-region')} model inference requests per minute "
        f"for … {target.spec.name}', and at its tokens per minute; ask for more there, or AWS Support."
    )
