"""Refusals of S3: XML with a code, unlike those of AWS's other services."""

from __future__ import annotations

from ..errors import AwsError
from .xml import document, tag

_REFUSED_KEYS = {
    "MissingAuthenticationTokenException": (403, "AccessDenied", "Access Denied"),
    "AccessDeniedException": (403, "AccessDenied", "Access Denied"),
    "UnrecognizedClientException": (
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
    "ExpiredTokenException": (400, "ExpiredToken", "The provided token has expired."),
    "IncompleteSignatureException": (
        400,
        "AuthorizationHeaderMalformed",
        "The authorization header is malformed; it is no whole signature.",
    ),
}
_TEXTS = {
    "AccessDenied": (403, "Access Denied"),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match what the server received."),
    "BucketAlreadyOwnedByYou": (
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidPart": (
        400,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
        "specified entity tag may not match the part's entity tag.",
    ),
    "InvalidPartOrder": (
        400,
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
    ),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
    ),
    "NotImplemented": (501, "A header you provided implies functionality that is not implemented"),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
    ),
    "SlowDown": (503, "Please reduce your request rate."),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
}


class S3Error(Exception):
    """An answer with an error status. `members`: further elements; `headers`: of the answer."""

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        message: str | None = None,
        members: dict[str, str] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        known_status, known_message = _TEXTS.get(code, (400, code))
        super().__init__(code)
        self.code = code
        self.status = status or known_status
        self.message = message or known_message
        self.members = members or {}
        self.headers = headers or []

    def body(self, resource: str, request_id: str) -> bytes:
        """Return the XML."""
        shown = {"Code": self.code, "Message": self.message, **self.members}
        shown |= {"Resource": resource, "RequestId": request_id, "HostId": request_id}
        return document("Error", "".join(tag(name, value) for name, value in shown.items()), namespace=False)


def wrong_region(signed_for: str, region: str, bucket: str) -> S3Error:
    """Return the refusal of a bucket that is in another region than the request was signed for.

    As AWS's endpoints do it: the one of us-east-1, which leads everywhere, says what is wrong with the signature, the
    one of another region where the bucket is.
    """
    headers = [(b"x-amz-bucket-region", region.encode())]
    if signed_for == "us-east-1":
        message = f"The authorization header is malformed; the region '{signed_for}' is wrong; expecting '{region}'"
        return S3Error("AuthorizationHeaderMalformed", message=message, members={"Region": region}, headers=headers)
    return S3Error(
        "PermanentRedirect",
        status=301,
        message="The bucket you are attempting to access must be addressed using the specified endpoint. Please send "
        "all future requests to this endpoint.",
        members={"Endpoint": f"s3.{region}.amazonaws.com", "Bucket": bucket},
        headers=headers,
    )


def of_signature(error: AwsError) -> S3Error:
    """Return what S3 says of credentials that were refused."""
    if error.name in _REFUSED_KEYS:
        status, code, message = _REFUSED_KEYS[error.name]
        return S3Error(code, status=status, message=message)
    skewed = error.message.startswith(("Signature expired", "Signature not yet"))
    return S3Error("RequestTimeTooSkewed" if skewed else "SignatureDoesNotMatch")
