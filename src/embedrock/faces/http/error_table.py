"""Every error a caller can meet, when, and what to do about it; the reference is made of this table."""

from __future__ import annotations

from typing import Final, NamedTuple

from embedrock.errors import (
    BadRequest,
    BucketUnusable,
    ContentBlocked,
    ContextTooLong,
    EmbedrockError,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyReused,
    IdentityUnavailable,
    InsufficientCredits,
    InternalError,
    InvalidUpstream,
    JobFailed,
    JobUnfinished,
    MethodNotAllowed,
    ModelAccessDenied,
    ModelNotFound,
    ModelNotSupported,
    ModelWarming,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    S3AccessDenied,
    S3Changed,
    S3NotFound,
    StoreUnavailable,
    TokensLimited,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    UpstreamAuthFailed,
    UpstreamQuota,
    UpstreamThrottled,
    UpstreamTimeout,
    ValidationError,
)


class Documented(NamedTuple):
    """One thing that can go wrong, as the reference tells it: `when` it happens, and the `cure`."""

    error: type[EmbedrockError]
    code: str | None
    when: str
    cure: str


#: Every code there is, by error; None where OpenAI has no code either. The reference is made of it.
DOCUMENTED: Final = (
    Documented(
        BadRequest,
        "invalid_json",
        "the body is not one JSON object in UTF-8, or holds NaN or a number out of range",
        "fix the body",
    ),
    Documented(BadRequest, "duplicate_key", "a member stands twice", "send it once"),
    Documented(BadRequest, "invalid_type", "`param` is of another JSON type", "fix `param`"),
    Documented(
        BadRequest,
        "invalid_value",
        "`param` has a value that is not allowed, or that the model does not offer",
        "fix `param`",
    ),
    Documented(
        BadRequest,
        "unsupported_parameter",
        "`param` is unknown to the gateway and to the model",
        "leave it out; or set `EMBEDROCK_DROP_PARAMS=true`",
    ),
    Documented(
        BadRequest,
        "empty_input",
        'no input, `[]`, or `""` in a list',
        "send text; or set `EMBEDROCK_EMPTY_INPUT=space`",
    ),
    Documented(
        BadRequest,
        "too_many_inputs",
        "more inputs than `EMBEDROCK_MAX_INPUTS`, or more parts in one than 1,000",
        "split the request",
    ),
    Documented(
        BadRequest,
        "request_tokens_exceeded",
        "the request has more tokens than the key may send in a minute, so waiting does not help",
        "split the request; or ask for a higher limit",
    ),
    Documented(
        BadRequest,
        "unsupported_media",
        "the model does not read what the input is, or not in this format, or not from S3",
        "see the models' limits",
    ),
    Documented(
        BadRequest,
        "unsupported_input_combination",
        "the model makes no one vector of these parts",
        "send them as inputs of their own",
    ),
    Documented(
        BadRequest,
        "invalid_data_uri",
        "the input begins like a data URI and is none in base64",
        "send `data:<type>/<subtype>;base64,<data>`",
    ),
    Documented(BadRequest, "invalid_base64", "the data is not standard base64 with its padding", "encode it anew"),
    Documented(
        BadRequest,
        "media_type_mismatch",
        "the bytes are not of the type that the data URI names",
        "name the right type",
    ),
    Documented(BadRequest, "invalid_media", "the media's header is cut off or makes no sense", "send the whole file"),
    Documented(
        BadRequest,
        "media_too_large",
        "the media has more bytes, pixels or frames than the model or the gateway takes",
        "make it smaller",
    ),
    Documented(
        BadRequest, "invalid_s3_uri", "the input begins with `s3://` and names no object", "send `s3://bucket/key`"
    ),
    Documented(
        BadRequest,
        "invalid_output_location",
        "`output_s3_uri` is a whole bucket, or one of the inputs",
        "name a folder",
    ),
    Documented(
        BadRequest,
        "s3_region_mismatch",
        "the bucket is in another region than the model",
        "use a bucket in the model's region",
    ),
    Documented(BadRequest, "s3_object_archived", "the object is in Glacier", "restore it first"),
    Documented(BadRequest, "s3_refused", "S3 refused to read or write in a way we do not know", "check the object"),
    Documented(
        BadRequest,
        "url_input_unsupported",
        "a content part is a web address",
        "send the content as a data URI: the gateway fetches nothing",
    ),
    Documented(
        BadRequest,
        "invalid_header_value",
        "one of Bedrock's headers has a value it cannot have, stands twice, or lacks its partner; at `/mcp`, also Host "
        "and Origin",
        "fix the header that `param` names",
    ),
    Documented(
        BadRequest, "guardrail_not_found", "the guardrail does not exist in the region", "check identifier and version"
    ),
    Documented(
        BadRequest,
        "guardrail_refused",
        "Bedrock refused to apply the guardrail to these texts",
        "look at the guardrail's limits",
    ),
    Documented(BadRequest, "invalid_http", "the request is not HTTP", "fix the client"),
    Documented(BadRequest, None, "Bedrock refused the request in a way we do not know", "look at the gateway's log"),
    Documented(ContentBlocked, "content_filter", "the guardrail blocked an input", "change the input"),
    Documented(
        ContextTooLong,
        "context_length_exceeded",
        "a text is longer than the model reads",
        "shorten it, or ask for `truncate` where the model has it",
    ),
    Documented(
        ModelNotSupported,
        "model_not_supported",
        "the model exists and cannot do this here",
        "use another model, or its inference profile",
    ),
    Documented(Unauthenticated, None, "no key was sent", "send `Authorization: Bearer <key>`"),
    Documented(Unauthenticated, "invalid_api_key", "the key is not one of the gateway's", "send one that is"),
    Documented(
        Unauthenticated,
        "invalid_token",
        "the token is over, or not signed, issued or meant as `EMBEDROCK_JWT_…` wants it, or names no account",
        "get a new one",
    ),
    Documented(Unauthenticated, "expired_api_key", "the key has expired", "send a newer one"),
    Documented(
        PermissionDenied,
        "permission_denied",
        "the key may not use this model, path or guardrail",
        "use another key; or have its rights changed",
    ),
    Documented(
        InsufficientCredits,
        "insufficient_credits",
        "the account, or a budget of the key, has too little left; nothing was sent to Bedrock",
        "ask the operator for credits; waiting does not help",
    ),
    Documented(
        ModelAccessDenied,
        "model_access_denied",
        "AWS does not let the gateway's credentials use the model",
        "allow `bedrock:InvokeModel`, or the model, for the account",
    ),
    Documented(
        ModelAccessDenied,
        "guardrail_not_allowed",
        "AWS does not let the gateway's credentials use the guardrail",
        "allow `bedrock:ApplyGuardrail`",
    ),
    Documented(
        Forbidden,
        "origin_not_allowed",
        "the request comes from a web page of elsewhere (`Origin`), and the gateway has no keys",
        "set `EMBEDROCK_API_KEY`, or send it from a server",
    ),
    Documented(
        S3AccessDenied,
        "s3_access_denied",
        "the object lies in no place of `EMBEDROCK_S3_PREFIXES`; or AWS does not let the gateway's credentials at it, "
        "for which the bucket's owner is a reason too",
        "name another; or add the place, or allow `s3:GetObject`",
    ),
    Documented(
        BadRequest,
        "s3_bucket_missing",
        "an input needs a job of Bedrock's, and the gateway has no bucket in the model's region, or no credentials "
        "for S3",
        "name a bucket in `AWS_S3_REGIONAL_BUCKETS`",
    ),
    Documented(NotFound, None, "nothing lives at the path, or there is no such job", "check the base URL, or the id"),
    Documented(
        ModelNotFound,
        "model_not_found",
        "no model or alias has this name, or Bedrock does not have it in the region",
        "see `GET /v1/models`",
    ),
    Documented(S3NotFound, "s3_object_not_found", "there is no such object in S3, or no such bucket", "check the URI"),
    Documented(MethodNotAllowed, None, "the path has other methods, named in `allow`", "use one of them"),
    Documented(RequestTimeout, "request_timeout", "the body stopped: nothing of it came for 10 s", "send it again"),
    Documented(S3Changed, "s3_object_changed", "the object was overwritten while it was read", "send it again"),
    Documented(
        RequestTooLarge,
        "request_too_large",
        "the body is larger than `EMBEDROCK_MAX_BODY_BYTES`; the connection is closed at once, so a client that "
        "is still sending may see that instead",
        "split the request",
    ),
    Documented(UnsupportedMedia, "unsupported_media_type", "the content type is not `application/json`", "send JSON"),
    Documented(UnsupportedMedia, "unsupported_content_encoding", "the body is compressed", "send it as it is"),
    Documented(
        ValidationError,
        "validation_error",
        "a body on the native path has an unknown member, lacks one, or has one of another type",
        "fix `param`",
    ),
    Documented(
        RateLimited,
        "rate_limit_exceeded",
        "the key sends more requests a minute, or at once, than it may; or many wrong keys came from a network",
        "wait as long as `retry-after-ms` says",
    ),
    Documented(
        TokensLimited,
        "rate_limit_exceeded",
        "the key sends more tokens a minute than it may",
        "wait as long as `retry-after-ms` says",
    ),
    Documented(
        IdempotencyInProgress,
        "idempotency_in_progress",
        "the first request with this `idempotency-key` is still under way",
        "wait for it, then send this one again: it gets the same answer",
    ),
    Documented(
        IdempotencyReused,
        "idempotency_key_reused",
        "the account sent another body with this `idempotency-key` within three days",
        "take a new key for each request",
    ),
    Documented(
        UpstreamThrottled,
        "upstream_throttled",
        "Bedrock's quota is spent, also after our own retries",
        "wait; ask AWS for a higher quota",
    ),
    Documented(InternalError, None, "a fault of the gateway", "report it with the request id"),
    Documented(
        InvalidUpstream,
        "upstream_invalid_response",
        "Bedrock answered something that is not the embedding asked for",
        "try again",
    ),
    Documented(
        JobFailed,
        "job_failed",
        "Bedrock gave up a job that an input needs, or could not embed a part of the input",
        "see what the message says of the input; in the background, what could be embedded is kept",
    ),
    Documented(
        Unavailable, "upstream_unavailable", "Bedrock failed or could not be reached, also after retries", "try again"
    ),
    Documented(
        Unavailable,
        "upstream_throttled",
        "on the native path: Bedrock's quota is spent, also after our own retries",
        "wait; ask AWS for a higher quota",
    ),
    Documented(
        Overloaded,
        "overloaded",
        "the gateway holds as many bytes of bodies, or as many waiting calls, as it can",
        "wait and try again; or run more replicas",
    ),
    Documented(ModelWarming, "model_warming", "Bedrock is loading the model", "try again"),
    Documented(
        IdentityUnavailable,
        "identity_unavailable",
        "the keys of the identity provider, which tokens are checked with, cannot be fetched",
        "try again; see to `EMBEDROCK_JWT_JWKS_URL`",
    ),
    Documented(
        StoreUnavailable,
        "ledger_unavailable",
        "the gateway's database of accounts and jobs cannot be used; nothing was charged",
        "try again; see to the database at `EMBEDROCK_DATABASE_URL`",
    ),
    Documented(
        BucketUnusable,
        "s3_bucket_unusable",
        "the gateway, or Bedrock, cannot use the gateway's own bucket",
        "see to `AWS_S3_REGIONAL_BUCKETS`: the bucket's name and region, and `s3:PutObject`",
    ),
    Documented(UpstreamQuota, "upstream_quota", "a service quota of the AWS account is exceeded", "raise the quota"),
    Documented(
        UpstreamAuthFailed,
        "upstream_auth_failed",
        "AWS refused the gateway's own credentials, or there are none",
        "see to the gateway's credentials",
    ),
    Documented(UpstreamTimeout, "upstream_timeout", "the deadline passed", "try again, or send less at once"),
    Documented(
        JobUnfinished,
        "upstream_timeout",
        "the deadline passed while a job of Bedrock's runs, which is charged all the same",
        "give it more time, or send it in the background",
    ),
)
