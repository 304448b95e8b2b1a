"""The wording of Bedrock's schema validator.

A body that breaks a model's schema is answered with the messages of a Java library (everit-org json-schema). Failures
form a tree: a schema with one failure hands it up as it is, one with several hands up a group. The printed order was
worked out from pasted errors of live Bedrock: at each level the single failures first, then the groups.

Here a failure is a `Leaf`, a group a list; `None` or an empty list means valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias


class Leaf(NamedTuple):
    """One violation: where (`#`, `#/texts/0`) and what."""

    pointer: str
    text: str


Failure: TypeAlias = "Leaf | list[Failure]"


def group(failures: Iterable[Failure | None]) -> Failure | None:
    """Return the failures of one schema as the validator hands them up: nothing, the only one, or a group."""
    found = [failure for failure in failures if failure]
    return found[0] if len(found) == 1 else found or None


def leaves(failure: Failure) -> list[Leaf]:
    """Return the leaves in printing order: single failures of a level before its groups."""
    if isinstance(failure, Leaf):
        return [failure]
    direct = [item for item in failure if isinstance(item, Leaf)]
    return direct + [leaf for item in failure if not isinstance(item, Leaf) for leaf in leaves(item)]


def describe(failure: Failure, *, pointers: bool) -> str:
    """Return the details of the message; a lone violation goes without its pointer unless `pointers`.

    Titan prints a lone violation bare, Cohere v3 and Nova with its pointer (all seen live); several always have
    pointers.
    """
    found = leaves(failure)
    if len(found) == 1 and not pointers:
        return found[0].text
    return "".join(f"{leaf.pointer}: {leaf.text}" for leaf in found)


def type_name(value: object) -> str:
    """Return the Java class a JSON value is parsed into."""
    match value:
        case None:
            return "Null"
        case bool():
            return "Boolean"
        case int():
            return "Integer" if -(2**31) <= value < 2**31 else "Long" if -(2**63) <= value < 2**63 else "BigInteger"
        case float():
            return "BigDecimal"
        case str():
            return "String"
        case list():
            return "JSONArray"
    return "JSONObject"


def expect_type(pointer: str, wanted: str, value: object) -> Leaf:
    """Return the failure of a value of the wrong type."""
    return Leaf(pointer, f"expected type: {wanted}, found: {type_name(value)}")


def members(
    body: Mapping[str, Any], *, required: Sequence[str] = (), known: Iterable[str] = (), pointer: str = "#"
) -> list[Failure | None]:
    """Return the failures of an object's keys: missing ones, then ones it does not know."""
    missing = [Leaf(pointer, f"required key [{key}] not found") for key in required if key not in body]
    extra = [Leaf(pointer, f"extraneous key [{key}] is not permitted") for key in body if key not in known]
    return [*missing, *extra]


def exactly_one(pointer: str, body: Mapping[str, Any], wanted: Sequence[str]) -> Failure | None:
    """Return the failures of an object that has to have one of several keys: all of them when it has none.

    Uncertain: the texts are the library's own for such a schema, not seen from Bedrock.
    """
    present = sum(key in body for key in wanted)
    if present == 0:
        return group(Leaf(pointer, f"required key [{key}] not found") for key in wanted)
    return None if present == 1 else Leaf(pointer, f"{present} subschemas matched instead of one")


def exclusive(body: Mapping[str, Any], wanted: str, unwanted: str) -> list[Failure]:
    """Return the failures of an alternative that has to have one key and must not have the other."""
    missing = [] if wanted in body else [Leaf("#", f"required key [{wanted}] not found")]
    present = [Leaf(f"#/{unwanted}", "false schema always fails")] if unwanted in body else []
    return [*missing, *present]


def string(pointer: str, value: object, *, shortest: int = 0, longest: int | None = None) -> Failure | None:
    """Return what is wrong with a value that has to be a string; lengths are code points."""
    if not isinstance(value, str):
        return expect_type(pointer, "String", value)
    if len(value) < shortest:
        return Leaf(pointer, f"expected minLength: {shortest}, actual: {len(value)}")
    if longest is not None and len(value) > longest:
        return Leaf(pointer, f"expected maxLength: {longest}, actual: {len(value)}")
    return None


def one_of(pointer: str, value: object, allowed: Sequence[str | int]) -> Failure | None:
    """Return what is wrong with a value of an enumeration: a wrong type, or else a value outside of it."""
    wanted = type(allowed[0])
    if type(value) is not wanted:
        return expect_type(pointer, "String" if wanted is str else "Integer", value)
    return None if value in allowed else Leaf(pointer, f"{value} is not a valid enum value")


def matching(pointer: str, value: object, pattern: str) -> Failure | None:
    """Return what is wrong with a value that has to be a string of a pattern."""
    if not isinstance(value, str):
        return expect_type(pointer, "String", value)
    return None if re.fullmatch(pattern, value) else Leaf(pointer, f"string [{value}] does not match pattern {pattern}")


def whole(pointer: str, value: object, least: int, most: int) -> Failure | None:
    """Return what is wrong with a value that has to be a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        return expect_type(pointer, "Integer", value)
    return _within(pointer, value, least, most)


def number(pointer: str, value: object, least: float, most: float | None = None) -> Failure | None:
    """Return what is wrong with a value that has to be a number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return expect_type(pointer, "Number", value)
    return _within(pointer, value, least, most)


def boolean(pointer: str, value: object) -> Failure | None:
    """Return what is wrong with a value that has to be true or false."""
    return None if isinstance(value, bool) else expect_type(pointer, "Boolean", value)


def string_list(pointer: str, value: object, *, most: int, longest: int | None = None) -> Failure | None:
    """Return what is wrong with a value that has to be a list of at most `most` strings."""
    if not isinstance(value, list):
        return expect_type(pointer, "JSONArray", value)
    items = [string(f"{pointer}/{at}", item, longest=longest) for at, item in enumerate(value)]
    return group([_too_many(pointer, value, most), *items])


def enum_list(pointer: str, value: object, allowed: Sequence[str]) -> Failure | None:
    """Return what is wrong with a value that has to be a list, not empty, of values of an enumeration."""
    if not isinstance(value, list):
        return expect_type(pointer, "JSONArray", value)
    if not value:
        return Leaf(pointer, "expected minimum item count: 1, found: 0")
    return group(one_of(f"{pointer}/{at}", item, allowed) for at, item in enumerate(value))


def _within(pointer: str, value: float, least: float, most: float | None) -> Failure | None:
    if value < least:
        return Leaf(pointer, f"{value} is not greater or equal to {least:g}")
    return Leaf(pointer, f"{value} is not less or equal to {most:g}") if most is not None and value > most else None


def _too_many(pointer: str, value: Sequence[object], most: int) -> Failure | None:
    if len(value) <= most:
        return None
    return Leaf(pointer, f"expected maximum item count: {most}, found: {len(value)}")
