"""Every error this package raises on purpose.

    EmbedrockError
    ├── BadRequest              400  the caller can fix it; names the parameter
    │   ├── ContentBlocked      400  a guardrail blocked a text
    │   ├── ContextTooLong      400  a text over the model's limit
    │   ├── ModelNotSupported   400  a model that exists and cannot do this
    │   ├── Unauthenticated     401  no key, or one we do not know
    │   ├── InsufficientCredits 402  the account, or a budget, has too little left
    │   ├── ModelAccessDenied   403  AWS does not let the gateway use the model
    │   ├── Forbidden           403  a request from where it may not come
    │   ├── PermissionDenied    403  something that the key may not do
    │   ├── S3AccessDenied      403  an object in S3 that callers, or the gateway, may not use
    │   ├── NotFound            404  no such path
    │   │   ├── ModelNotFound   404  no such model
    │   │   └── S3NotFound      404  no such object in S3
    │   ├── MethodNotAllowed    405
    │   ├── RequestTimeout      408
    │   ├── S3Changed           409  an object in S3 was overwritten while it was read
    │   ├── IdempotencyReused   422  an idempotency key that another request had
    │   ├── RequestTooLarge     413
    │   ├── UnsupportedMedia    415  a body that is not plain JSON
    │   └── ValidationError     422  a body of Bedrock's own shape that breaks its schema
    ├── IdempotencyInProgress   409  the first request of an idempotency key is still under way
    ├── RateLimited             429  the key's own limit of requests
    │   └── TokensLimited       429  that of tokens
    ├── UpstreamThrottled       429  Bedrock's quota, after our own patience
    ├── InternalError           500  our fault
    ├── InvalidUpstream         502  Bedrock answered something that is no embedding
    ├── JobFailed               502  Bedrock says that a job failed
    ├── Unavailable             503  Bedrock's fault, or the way to it
    │   ├── Overloaded          503  the gateway has as much to do as it can
    │   ├── IdentityUnavailable 503  the identity provider is away, which tokens are checked with
    │   ├── ModelWarming        503  Bedrock is loading the model
    │   ├── StoreUnavailable    503  the gateway's own database is away
    │   ├── BucketUnusable      503  the gateway's own bucket takes nothing
    │   ├── UpstreamQuota       503  a service quota that waiting does not lift
    │   └── UpstreamAuthFailed  503  the gateway's own credentials: never a 401 to the caller
    └── UpstreamTimeout         504  the deadline passed
        └── JobUnfinished       504  the deadline passed while a job runs, which is charged nonetheless

Status, type and code live on the class. Codes are a closed list; clients match on status, type, code and param,
never on the message. A message never holds an input, a vector, a key, an ARN or a stack trace.
Types and codes follow OpenAI's API; the ones OpenAI has no word for are ours.
"""

from __future__ import annotations

from enum import Enum
from math import ceil
from typing import ClassVar


class Retry(Enum):
    """What the one layer that retries may do about an error."""

    NEVER = "never"
    THROTTLE = "throttle"  # wait longer: the quota is spent
    TRANSIENT = "transient"  # the next attempt will probably work
    WARMING = "warming"  # the model is being loaded: seconds, not milliseconds
    ONCE = "once"  # one more attempt, in case it was an accident


class EmbedrockError(Exception):
    """Base of every error raised on purpose.

    `param` names the request's parameter (`input[3]`, `dimensions`).
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    retry: Retry = Retry.NEVER
    retry_after_s: int | None = None  # what a caller is told to wait, where waiting helps; 1 to 60
    hopeless: ClassVar[bool] = False  # the same request can never succeed: clients are told not to retry

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry: Retry | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code
        if retry is not None:
            self.retry = retry
        if retry_after_s is not None:
            self.retry_after_s = min(60, max(1, ceil(retry_after_s)))

    def explained(self) -> str:
        """Return the message, and for the operator what the network said."""
        return f"{self.message} ({self.__cause__})" if isinstance(self.__cause__, OSError) else self.message


class BadRequest(EmbedrockError):
    """Something in the request is missing, wrong or unknown."""

    status = 400
    type = "invalid_request_error"
    hopeless = True


class ContextTooLong(BadRequest):
    """A text is longer than the model reads."""

    code = "context_length_exceeded"


class ValidationError(BadRequest):
    """A body of Bedrock's own shape breaks its schema. 422, as that path's clients expect."""

    status = 422
    code = "validation_error"


class ContentBlocked(BadRequest):
    """A guardrail blocked the input. `outcome`: how, for a caller who asked for the trace; None: it is not told."""

    code = "content_filter"

    def __init__(self, message: str, *, param: str, outcome: str) -> None:
        super().__init__(message, param=param)
        self.outcome: str | None = outcome


class ModelNotSupported(BadRequest):
    """The model exists but cannot do what was asked."""

    code = "model_not_supported"


class Unauthenticated(BadRequest):
    """No key was sent, or an unknown one."""

    status = 401


class InsufficientCredits(BadRequest):
    """The account, or a budget of the key, has not enough left for the request."""

    status = 402
    type = "insufficient_quota"
    code = "insufficient_credits"


class ModelAccessDenied(BadRequest):
    """AWS does not let the gateway's credentials use this model."""

    status = 403
    code = "model_access_denied"


class Forbidden(BadRequest):
    """The request comes from where it may not."""

    status = 403
    code = "origin_not_allowed"


class PermissionDenied(BadRequest):
    """The key may not do this."""

    status = 403
    code = "permission_denied"


class S3AccessDenied(BadRequest):
    """The object in S3 lies outside what callers may name, or AWS does not let the gateway at it."""

    status = 403
    code = "s3_access_denied"


class NotFound(BadRequest):
    """Nothing lives at this path."""

    status = 404


class ModelNotFound(NotFound):
    """No model or alias has this name."""

    code = "model_not_found"


class S3NotFound(NotFound):
    """There is no such object in S3, or no such bucket."""

    code = "s3_object_not_found"


class MethodNotAllowed(BadRequest):
    """The path exists but not with this method."""

    status = 405


class RequestTimeout(BadRequest):
    """The body stopped coming."""

    status = 408
    code = "request_timeout"


class S3Changed(BadRequest):
    """An object in S3 was overwritten while it was read."""

    status = 409
    code = "s3_object_changed"


class RequestTooLarge(BadRequest):
    """The body is over the gateway's limit."""

    status = 413
    code = "request_too_large"


class UnsupportedMedia(BadRequest):
    """The body is not uncompressed JSON in UTF-8."""

    status = 415
    code = "unsupported_media_type"


class RateLimited(EmbedrockError):
    """The key sends more requests than it may. `wait_ms`: until the next may come."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    retry_after_s = 1

    def __init__(self, message: str, *, wait_ms: int = 1000, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param, code=code, retry_after_s=wait_ms / 1000)
        self.wait_ms = wait_ms


class TokensLimited(RateLimited):
    """The key sends more tokens than it may."""

    type = "tokens"


class IdempotencyReused(BadRequest):
    """Another request was sent with the same idempotency key."""

    status = 422
    code = "idempotency_key_reused"


class IdempotencyInProgress(EmbedrockError):
    """A request with this idempotency key is under way."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_in_progress"
    retry_after_s = 1


class UpstreamThrottled(EmbedrockError):
    """Bedrock throttled us for longer than we wait."""

    status = 429
    type = "requests"
    code = "upstream_throttled"
    retry_after_s = 5
    retry = Retry.THROTTLE
    of_tokens = False  # for its tokens, not for the number of requests


class InternalError(EmbedrockError):
    """A fault of this gateway."""

    status = 500


class InvalidUpstream(EmbedrockError):
    """Bedrock answered 200 with something that is not the embedding asked for."""

    status = 502
    code = "upstream_invalid_response"
    retry = Retry.TRANSIENT


class JobFailed(EmbedrockError):
    """Bedrock could not embed an input in a job. The same job would be charged again, and probably fail again."""

    status = 502
    code = "job_failed"
    hopeless = True


class Unavailable(EmbedrockError):
    """Bedrock failed or could not be reached, also after retries."""

    status = 503
    code = "upstream_unavailable"
    retry_after_s = 2


class Overloaded(Unavailable):
    """The gateway has as much to do as it can; nothing was embedded."""

    code = "overloaded"
    retry_after_s = 1


class ModelWarming(Unavailable):
    """Bedrock is still loading the model."""

    code = "model_warming"
    retry_after_s = 10
    retry = Retry.WARMING


class IdentityUnavailable(Unavailable):
    """The keys that tokens are checked with cannot be fetched."""

    code = "identity_unavailable"
    retry_after_s = 5


class StoreUnavailable(Unavailable):
    """The gateway's database, which accounts and jobs need, cannot be used."""

    code = "ledger_unavailable"
    retry_after_s = 2


class BucketUnusable(Unavailable):
    """The gateway cannot write to its own bucket: the operator has to see to it."""

    code = "s3_bucket_unusable"
    retry_after_s = 30


class UpstreamQuota(Unavailable):
    """A service quota of the AWS account is exceeded."""

    code = "upstream_quota"
    retry_after_s = 60


class UpstreamAuthFailed(Unavailable):
    """AWS refused the gateway's own credentials, or there are none."""

    code = "upstream_auth_failed"
    hopeless = True  # until the operator has seen to it: a client that waits and tries again only waits
    retry_after_s = 30


class UpstreamTimeout(EmbedrockError):
    """The request's deadline passed before Bedrock answered."""

    status = 504
    code = "upstream_timeout"


class JobUnfinished(UpstreamTimeout):
    """The request's deadline passed before a job ended. It goes on and is charged; so would be another."""

    hopeless = True
