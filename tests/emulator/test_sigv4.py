"""Signatures are checked when the emulator has been given keys; boto3 is the judge of what is right."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from bedrock_emulator.errors import AwsError
from bedrock_emulator.sigv4 import Keys, Request, canonical_request, verify

from .conftest import ENGLISH, PROFILE_ARN, SIGNED, TITAN, Running, running

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
PAIR = (KEYS.access_key, KEYS.secret_key, None)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNATURE = "7778b2901963658cad7d2e6618ab53e6c26d36231f0774126c61aa13c2f8feb9"
BODY = json.dumps({"inputText": "hello"})


def request(**changed: str) -> Request:
    """Return a request that botocore signed; `changed` replaces or, when empty, removes headers."""
    headers = {
        "host": "bedrock-runtime.us-east-1.amazonaws.com",
        "accept": "application/json",
        "content-type": "application/json",
        "x-amz-date": "20260101T000000Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/bedrock/aws4_request, "
        f"SignedHeaders=accept;content-type;host;x-amz-date, Signature={SIGNATURE}",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return Request(
        "POST",
        b"/model/amazon.titan-embed-text-v2%3A0/invoke",
        b"",
        [(name.encode(), value.encode()) for name, value in headers.items() if value],
        b'{"inputText":"hello"}',
    )


def authorization(old: str, new: str) -> Request:
    """Return the request with a part of its Authorization replaced."""
    return request(authorization=(request().header("authorization") or "").replace(old, new))


def refusal(sent: Request, *, keys: Keys = KEYS, now: datetime = NOW) -> tuple[int, str, str]:
    with pytest.raises(AwsError) as caught:
        verify(sent, keys, now=now)
    return caught.value.status, caught.value.name, caught.value.message


def code(emulator: Running, **options: Any) -> tuple[int, str]:
    """Return status and error code of a call through boto3."""
    with pytest.raises(ClientError) as caught:
        emulator.client(**options).invoke_model(modelId=TITAN, body=BODY)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_a_request_signed_by_botocore_is_right_to_the_last_hash() -> None:
    names = ["accept", "content-type", "host", "x-amz-date"]

    text = canonical_request(request(), names)

    assert text.split(b"\n")[1] == b"/model/amazon.titan-embed-text-v2%253A0/invoke"
    assert sha256(text).hexdigest() == "b5f38365fe60a5304d7f573f554b133eb4495ff288efa17dbb918b923f7493e6"
    verify(request(), KEYS, now=NOW)


@pytest.mark.parametrize("path", ["/model/amazon.titan-embed-text-v2:0/invoke", "/model/a%2Fb~c-d_e.f/invoke", "/%zz"])
@pytest.mark.parametrize("query", ["", "?type=APPLICATION&nextToken=MA%3D%3D&a", "?b=2&b=1&a=%C3%A9%20x"])
def test_paths_and_queries_are_read_as_botocore_signs_them(path: str, query: str) -> None:
    sent = AWSRequest("GET", f"http://127.0.0.1:4570{path}{query}", headers={"Host": "127.0.0.1:4570"})
    SigV4Auth(Credentials("AKID", "secret", "token"), "bedrock", "eu-west-1").add_auth(sent)
    headers = [(name.lower().encode(), value.encode()) for name, value in sent.headers.items()]

    verify(
        Request("GET", path.encode(), query[1:].encode(), headers, b""),
        Keys("AKID", "secret", "token"),
        now=datetime.now(UTC),
    )


@pytest.mark.parametrize(
    "changed",
    [
        replace(request(), body=b'{"inputText":"hallo"}'),
        replace(request(), path=b"/model/amazon.titan-embed-text-v2:0/invoke"),
        replace(request(), method="PUT"),
        replace(request(), query=b"a=b"),
        request(host="127.0.0.1:4570"),
        request(accept=""),
        authorization("us-east-1", "eu-west-1"),
        authorization(SIGNATURE, "0" * 64),
    ],
)
def test_whatever_was_signed_cannot_be_changed(changed: Request) -> None:
    status, name, message = refusal(changed)

    assert (status, name) == (403, "InvalidSignatureException")
    assert message.startswith("The request signature we calculated does not match the signature you provided.")


def test_another_secret_gives_a_wrong_signature() -> None:
    assert refusal(request(), keys=replace(KEYS, secret_key="other"))[1] == "InvalidSignatureException"


@pytest.mark.parametrize("seconds", [-300, 300])
def test_five_minutes_of_skew_are_allowed(seconds: int) -> None:
    verify(request(), KEYS, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (301, "Signature expired: 20260101T000000Z is now earlier than 20260101T000001Z (20260101T000501Z - 5 min.)"),
        (
            -301,
            "Signature not yet current: 20260101T000000Z is still later than 20251231T235959Z "
            "(20251231T235459Z + 5 min.)",
        ),
    ],
)
def test_more_skew_is_refused_with_the_dates(seconds: int, message: str) -> None:
    now = NOW + timedelta(seconds=seconds)

    assert refusal(request(), now=now) == (403, "InvalidSignatureException", message)


@pytest.mark.parametrize(
    ("sent", "status", "name", "told"),
    [
        (request(authorization=""), 403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
        (request(authorization="Bearer bedrock-api-key-x"), 403, "AccessDeniedException", "Authentication failed"),
        (request(authorization="Basic x"), 400, "IncompleteSignatureException", "requires 'Credential' parameter."),
        (authorization("Signature=", "S="), 400, "IncompleteSignatureException", "requires 'Signature' parameter."),
        (authorization("AWS4-HMAC-SHA256", "AWS4-X"), 400, "IncompleteSignatureException", "algorithm"),
        (authorization("/aws4_request", ""), 400, "IncompleteSignatureException", "5 slash-delimited"),
        (request(x_amz_date=""), 400, "IncompleteSignatureException", "'X-Amz-Date'"),
        (request(x_amz_date="2026-01-01"), 400, "IncompleteSignatureException", "Got '2026-01-01'"),
        (authorization("/bedrock/", "/s3/"), 403, "InvalidSignatureException", "correct service: 'bedrock'"),
        (authorization("/20260101/", "/20260102/"), 403, "InvalidSignatureException", "'20260102' != '20260101'"),
        (authorization(";host", ""), 403, "InvalidSignatureException", "'SignedHeader'"),
        (authorization("AKIDEXAMPLE", "AKIDOTHER"), 403, "UnrecognizedClientException", "token included in the"),
        (request(x_amz_security_token="x"), 403, "UnrecognizedClientException", "request is invalid."),
    ],
)
def test_each_defect_has_its_own_error(sent: Request, status: int, name: str, told: str) -> None:
    found = refusal(sent)

    assert found[:2] == (status, name)
    assert told in found[2]


@pytest.mark.parametrize("token", [None, "other"])
def test_a_session_token_has_to_come_with_its_key(token: str | None) -> None:
    sent = request(x_amz_security_token=token or "")

    assert refusal(sent, keys=replace(KEYS, session_token="token"))[1] == "UnrecognizedClientException"


def test_boto3_is_let_in_for_every_kind_of_call(emulator: Running) -> None:
    """Ids with a colon, ARNs with slashes, a profile, queries, both hosts, and headers of Bedrock's own."""
    emulator.post("credentials", {"access_key": PAIR[0], "secret_key": PAIR[1]})
    emulator.guardrail(id="gr1")
    runtime, control = (emulator.client(service, keys=PAIR) for service in ("bedrock-runtime", "bedrock"))

    for model in (TITAN, PROFILE_ARN, f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}"):
        answer = runtime.invoke_model(modelId=model, body=BODY, trace="ENABLED", serviceTier="flex")
        assert json.loads(answer["body"].read())["inputTextTokenCount"] == 2
    texts = json.dumps({"texts": ["hello"], "input_type": "search_query"})
    runtime.invoke_model(modelId=ENGLISH, body=texts, contentType="application/json", accept="*/*")
    runtime.apply_guardrail(
        guardrailIdentifier="gr1", guardrailVersion="DRAFT", source="INPUT", content=[{"text": {"text": "é"}}]
    )
    page = control.list_inference_profiles(maxResults=1)
    control.list_inference_profiles(maxResults=1, nextToken=page["nextToken"], typeEquals="SYSTEM_DEFINED")
    control.get_inference_profile(inferenceProfileIdentifier=PROFILE_ARN)

    assert [row["status"] for row in emulator.journal()] == [200] * 8


def test_boto3_is_let_in_in_every_region(emulator: Running) -> None:
    emulator.post("credentials", {"access_key": PAIR[0], "secret_key": PAIR[1]})

    emulator.client(region="ap-southeast-2", keys=PAIR).invoke_model(modelId=TITAN, body=BODY)

    assert emulator.journal()[0]["region"] == "ap-southeast-2"


def test_keys_of_the_command_line_are_asked_for() -> None:
    options = ("--access-key", "AKID", "--secret-key", "secret", "--session-token", "token")
    with running(*options) as emulator:
        emulator.client(keys=("AKID", "secret", "token")).invoke_model(modelId=TITAN, body=BODY)

        assert code(emulator, keys=("AKID", "secret", None)) == (403, "UnrecognizedClientException")
        assert code(emulator, keys=("AKID", "wrong", "token")) == (403, "InvalidSignatureException")
        assert code(emulator, keys=("OTHER", "secret", "token")) == (403, "UnrecognizedClientException")
        answer = emulator.request("POST", f"/model/{TITAN}/invoke", BODY.encode())
        assert answer.headers["x-amzn-errortype"].startswith("MissingAuthenticationTokenException:")
        assert [row["status"] for row in emulator.journal()] == [200, 403, 403, 403, 403]


def test_keys_are_changed_while_it_runs_and_old_ones_expire(emulator: Running) -> None:
    old, new = ("OLD", "s1", "t1"), ("NEW", "s2", "t2")
    emulator.post("credentials", {"access_key": "OLD", "secret_key": "s1", "session_token": "t1"})
    client = emulator.client(keys=old)
    client.invoke_model(modelId=TITAN, body=BODY)

    shown = emulator.post(
        "credentials", {"access_key": "NEW", "secret_key": "s2", "session_token": "t2", "expired": ["OLD"]}
    )

    with pytest.raises(ClientError, match=r"The security token included in the request is expired$") as caught:
        client.invoke_model(modelId=TITAN, body=BODY)
    assert caught.value.response["Error"]["Code"] == "ExpiredTokenException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    emulator.client(keys=new).invoke_model(modelId=TITAN, body=BODY)
    assert shown.json == {"access_key": "NEW", "has_session_token": True, "expired": ["OLD"]}


def test_secrets_are_never_shown(emulator: Running) -> None:
    posted = {"access_key": "AKID", "secret_key": "hidden-1", "session_token": "hidden-2"}
    emulator.post("credentials", posted)

    shown = emulator.request("GET", "/_emulator/credentials")

    assert shown.json == {"credentials": {"access_key": "AKID", "has_session_token": True, "expired": []}}
    assert "hidden" not in repr(Keys.read(posted))


def test_without_keys_any_signature_is_taken_again(emulator: Running) -> None:
    emulator.post("credentials", {"access_key": "AKID", "secret_key": "secret"})
    assert code(emulator) == (403, "UnrecognizedClientException")

    assert emulator.request("DELETE", "/_emulator/credentials").status == 200

    assert emulator.request("GET", "/_emulator/credentials").json == {"credentials": None}
    assert emulator.invoke(TITAN, {"inputText": "hello"}).status == 200


def test_a_body_that_is_too_large_is_told_before_its_signature(emulator: Running) -> None:
    emulator.post("credentials", {"access_key": "AKID", "secret_key": "secret"})

    answer = emulator.request(
        "POST", f"/model/{TITAN}/invoke", b" " * 25_000_001, {"Authorization": SIGNED.format(region="us-east-1")}
    )

    assert answer.status == 413


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ([], "body"),
        ({}, "access_key"),
        ({"access_key": "A"}, "secret_key"),
        ({"access_key": "A", "secret_key": ""}, "secret_key"),
        ({"access_key": "A", "secret_key": "s", "session_token": 1}, "session_token"),
        ({"access_key": "A", "secret_key": "s", "expired": "A"}, "expired"),
        ({"access_key": "A", "secret_key": "s", "secret": "s"}, "secret"),
    ],
)
def test_keys_that_make_no_sense_are_refused_by_the_members_name(emulator: Running, members: Any, member: str) -> None:
    answer = emulator.post("credentials", members)

    assert answer.status == 400
    assert re.match(rf"{member}: ", answer.json["message"])
    assert emulator.request("GET", "/_emulator/credentials").json == {"credentials": None}
