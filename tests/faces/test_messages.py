"""What a request says beside its body."""

from __future__ import annotations

import pytest

from embedrock.errors import BadRequest
from embedrock.faces.http.messages import timeout


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"x-request-timeout-ms": b"1500"}, 1.5),
        ({b"x-stainless-read-timeout": b"600"}, 600.0),
        ({b"x-stainless-read-timeout": b"2.5"}, 2.5),
        ({b"x-stainless-timeout": b"30"}, 30.0),
        ({b"x-request-timeout-ms": b"9000", b"x-stainless-read-timeout": b"5"}, 5.0),
        ({b"x-request-timeout-ms": b"1000", b"x-stainless-read-timeout": b"5"}, 1.0),
        ({b"x-stainless-timeout": b"0"}, None),
        ({b"x-stainless-read-timeout": b"None"}, None),
        ({b"x-stainless-read-timeout": b"-1"}, None),
        ({b"x-stainless-read-timeout": b"1e9"}, None),
    ],
)
def test_caller_waits_as_long_as_the_shortest_word_says(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert timeout(headers) == seconds


@pytest.mark.parametrize("value", [b"0", b"-5", b"1.5", b"abc", b"", b"1000000000000"])
def test_own_word_must_be_a_positive_whole_number(value: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        timeout({b"x-request-timeout-ms": value})

    assert (caught.value.param, caught.value.code) == ("x-request-timeout-ms", "invalid_value")
