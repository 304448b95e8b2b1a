"""Our signer against a vector, and against botocore's on requests drawn at random."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from hashlib import sha256
from unittest import mock
from urllib.parse import quote

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedrock.catalog import MODELS
from embedrock.upstream.sigv4 import Credentials, RequestSigner

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
JSON_HEADERS = {"accept": "application/json", "content-type": "application/json"}
HOST = "bedrock-runtime.us-east-1.amazonaws.com"
PATH = "/model/amazon.titan-embed-text-v2%3A0/invoke"

MIDNIGHT = 1_767_225_600  # 2026-01-01T00:00:00Z
SECONDS = st.integers(0, 4_000_000_000)

MODEL_IDS = st.one_of(
    st.sampled_from(list(MODELS)),
    st.sampled_from(["us.", "eu.", "global."]).flatmap(lambda profile: st.sampled_from([profile + m for m in MODELS])),
    st.from_regex(
        r"arn:aws(-us-gov)?:bedrock:us-[a-z]{4}-1:[0-9]{12}:(application-)?inference-profile/[a-z0-9.:]{1,30}",
        fullmatch=True,
    ),
    st.text("abzAZ09-._:/~!*'() +%é", min_size=1, max_size=30).filter(lambda text: text.strip("./")),
)
#: Names on both sides of `x-amz-date`, and after the token's; the SDKs and Bedrock have such headers.
EXTRA_HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "amz-sdk-invocation-id",
            "amz-sdk-request",
            "x-amz-content-type",
            "x-amz-expected-bucket-owner",
            "X-Amz-Target",
            "x-amzn-bedrock-trace",
            "X-Amzn-Bedrock-Service-Tier",
            "x-zone",
        ]
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).filter(str.strip),
)
CREDENTIALS = st.builds(
    Credentials,
    st.from_regex(r"A[KS]IA[A-Z2-7]{16}", fullmatch=True),
    st.text("abcXYZ019+/=", min_size=1, max_size=40),
    st.none() | st.text("abcXYZ019+/=", min_size=1, max_size=400),
)


def signed_by_botocore(
    body: bytes,
    credentials: Credentials,
    seconds: float,
    *,
    path: str = PATH,
    host: str = HOST,
    headers: Mapping[str, str] = JSON_HEADERS,
    region: str = "us-east-1",
) -> tuple[str, str]:
    """Return what botocore sends as `X-Amz-Date` and `Authorization`."""
    request = botocore.awsrequest.AWSRequest("POST", f"https://{host}{path}", dict(headers), body)
    signer = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(credentials.access_key, credentials.secret_key, credentials.token),
        "bedrock",
        region,
    )
    now = datetime.datetime.fromtimestamp(math.floor(seconds), datetime.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        signer.add_auth(request)
    return request.headers["X-Amz-Date"], request.headers["Authorization"]


def signer_for(
    *, path: str = PATH, host: str = HOST, headers: Mapping[str, str] = JSON_HEADERS, region: str = "us-east-1"
) -> RequestSigner:
    return RequestSigner("POST", host, path, headers, region=region, service="bedrock")


def sign(signer: RequestSigner, body: bytes, credentials: Credentials, seconds: float) -> tuple[str, str]:
    return signer.sign(sha256(body).hexdigest(), credentials, seconds)


def test_vector() -> None:
    date, authorization = sign(signer_for(), b'{"inputText":"hello"}', KEYS, MIDNIGHT)

    assert date == "20260101T000000Z"
    assert authorization == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=accept;content-type;host;x-amz-date, "
        "Signature=7778b2901963658cad7d2e6618ab53e6c26d36231f0774126c61aa13c2f8feb9"
    )


def test_oracle_gives_the_vector_too() -> None:
    _, authorization = signed_by_botocore(b'{"inputText":"hello"}', KEYS, MIDNIGHT)

    assert authorization.endswith("=7778b2901963658cad7d2e6618ab53e6c26d36231f0774126c61aa13c2f8feb9")


@settings(deadline=None)
@given(
    body=st.one_of(st.binary(max_size=200), st.text().map(lambda text: json.dumps({"inputText": text}).encode())),
    model_id=MODEL_IDS,
    region=st.sampled_from(["us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1"]),
    credentials=CREDENTIALS,
    extra=EXTRA_HEADERS,
    seconds=SECONDS,
)
def test_signature_is_botocores(
    body: bytes, model_id: str, region: str, credentials: Credentials, extra: dict[str, str], seconds: int
) -> None:
    path = f"/model/{quote(model_id, safe='-_.~')}/invoke"
    host = f"bedrock-runtime.{region}.amazonaws.com"
    headers = JSON_HEADERS | extra

    ours = sign(signer_for(path=path, host=host, headers=headers, region=region), body, credentials, seconds)

    assert ours == signed_by_botocore(body, credentials, seconds, path=path, host=host, headers=headers, region=region)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=20),
            st.sampled_from(
                [
                    KEYS,
                    Credentials("AKIDEXAMPLE", "other"),
                    Credentials("AKIDEXAMPLE", KEYS.secret_key, "token-1"),
                    Credentials("AKIDEXAMPLE", KEYS.secret_key, "token-2"),
                ]
            ),
            st.floats(MIDNIGHT - 3, MIDNIGHT + 3) | SECONDS.map(float),
        ),
        min_size=2,
        max_size=8,
    )
)
@example([(b"", KEYS, MIDNIGHT - 1.0), (b"", KEYS, MIDNIGHT - 0.001), (b"", KEYS, float(MIDNIGHT)), (b"", KEYS, 0.0)])
@example([(b"a", KEYS, 5.0), (b"a", Credentials("AKIDEXAMPLE", "other"), 5.0), (b"a", KEYS, 5.0)])
def test_signer_that_is_used_again_signs_as_a_new_one(calls: list[tuple[bytes, Credentials, float]]) -> None:
    """Across midnight, with time going back, and with other credentials in between."""
    signer = signer_for()

    ours = [sign(signer, body, credentials, seconds) for body, credentials, seconds in calls]

    assert ours == [signed_by_botocore(body, credentials, seconds) for body, credentials, seconds in calls]


def test_empty_token_is_none() -> None:
    """A credentials file may hold `aws_session_token =`; no header goes out for it, so none may be signed."""
    credentials = Credentials(KEYS.access_key, KEYS.secret_key, "")

    assert sign(signer_for(), b"", credentials, MIDNIGHT) == signed_by_botocore(b"", KEYS, MIDNIGHT)
