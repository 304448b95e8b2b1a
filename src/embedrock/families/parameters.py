"""What a model takes besides the inputs: one table a family, and how a caller's members are checked against it.

A parameter has one name of ours, in snake_case, and Bedrock's own; callers may use either, or the snake_case of
Bedrock's. A member that is null counts as absent. What the table does not hold is refused by who asks, or dropped and
listed where the operator prefers that.

Callers, operators' aliases and `DEFAULT_MODEL_PARAMS` are layers: for each parameter the first layer that names it
holds, and a family's own default holds where none does. Nothing is ever written back into a layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from embedrock.catalog import ModelSpec
from embedrock.errors import BadRequest

Check = Callable[[object], object]  # returns what is sent; raises ValueError that ends the sentence "'name' …"
Members = Mapping[str, object]

#: What a value of `truncate` cuts off. Families spell it differently; NONE cuts nothing.
_SIDES: Final[Mapping[object, Literal["start", "end"]]] = {
    "START": "start",
    "LEFT": "start",
    "END": "end",
    "RIGHT": "end",
    "end": "end",
}


class WrongType(ValueError):
    """The value is of another JSON type; any other ValueError: of the right type, and not allowed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `field`: Bedrock's name; `also`: further spellings; `expects`: the values, for people."""

    name: str
    field: str
    expects: str
    check: Check
    help: str
    also: tuple[str, ...] = ()
    default: object = None  # sent when no layer names the parameter; None sends nothing

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names a caller may use, ours first, each once."""
        return tuple(dict.fromkeys((self.name, *self.also, _snake(self.field), self.field)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants of a model, besides its inputs; checked."""

    dimensions: int  # numbers in a whole vector
    asked: bool  # somebody asked for that number of dimensions; else it is the model's own
    values: Mapping[str, Any]  # by our names, defaults included
    kind: str = "float"  # of the numbers: one of the model's output types
    size: int = 0  # numbers in a vector as it is answered: packed types have fewer than dimensions
    scale: bool = False  # we bring vectors to length 1, because the model has no switch for it
    cut: Literal["start", "end"] | None = None  # where a text that is too long may be cut

    @property
    def key(self) -> tuple[object, ...]:
        """What is the same for requests that may share a call: all that goes into its body."""
        return (self.dimensions, self.asked, self.kind, self.size, *sorted(self.values.items()))


@dataclass(frozen=True)
class Table:
    """The parameters of one family. `dimensions`: Bedrock's names for the number of dimensions, if it takes one."""

    parameters: tuple[Parameter, ...] = ()
    dimensions: tuple[str, ...] = ()
    _by_spelling: dict[str, Parameter] = field(init=False, repr=False)
    _defaults: dict[str, object] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = {spelling: parameter for parameter in self.all for spelling in parameter.spellings}
        object.__setattr__(self, "_by_spelling", table)
        defaults = {p.name: p.default for p in self.parameters if p.default is not None}
        object.__setattr__(self, "_defaults", defaults)

    @property
    def all(self) -> tuple[Parameter, ...]:
        """Return every parameter callers may use with the family, also those every model has."""
        size = Parameter("dimensions", "dimensions", "one of the model's sizes", _size, "Numbers a vector.")
        own = {p.name for p in self.parameters}
        common = (NORMALIZE,) if "normalize" not in own else ()
        return (_with_spellings(size, self.dimensions), *common, *self.parameters)

    def read(self, members: Members) -> tuple[dict[str, object], list[str]]:
        """Return the members by our names, checked, and the names of those the table does not hold.

        Raises BadRequest naming the member.
        """
        known: dict[str, object] = {}
        unknown: list[str] = []
        for spelling, value in members.items():
            if value is None:
                continue
            parameter = self._by_spelling.get(spelling)
            if parameter is None:
                unknown.append(spelling)
                continue
            checked = _checked(parameter, spelling, value)
            if known.setdefault(parameter.name, checked) != checked:
                raise BadRequest(
                    f"'{spelling}' contradicts another spelling of it.", param=spelling, code="invalid_value"
                )
        return known, unknown

    def resolve(self, spec: ModelSpec, layers: Iterable[Mapping[str, object]]) -> Wanted:
        """Return what `layers`, as `read` returned them, the first the strongest, ask of `spec`. Raises BadRequest."""
        values: dict[str, Any] = dict(self._defaults)
        for layer in reversed(list(layers)):
            values |= layer
        asked = values.pop("dimensions", None)
        dimensions = spec.default_dimensions if asked is None else _offered(spec, asked)
        kind = str(values.get("embedding_types", "float"))
        if kind not in spec.output_types:
            raise BadRequest(f"{spec.id} makes no {kind} vectors.", param="embedding_types", code="invalid_value")
        scale = not spec.normalize_switch and bool(values.pop("normalize", False))
        if scale and kind != "float":
            raise BadRequest(f"Vectors of {kind} cannot be normalized.", param="normalize", code="invalid_value")
        size = dimensions // 8 if kind in spec.packed_types else dimensions
        return Wanted(dimensions, asked is not None, values, kind, size, scale, cut=_SIDES.get(values.get("truncate")))


def _checked(parameter: Parameter, spelling: str, value: object) -> object:
    try:
        return parameter.check(value)
    except WrongType as exc:
        raise BadRequest(f"'{spelling}' must be {exc}.", param=spelling, code="invalid_type") from None
    except ValueError as exc:
        raise BadRequest(f"'{spelling}' must be {exc}.", param=spelling, code="invalid_value") from None


def _offered(spec: ModelSpec, dimensions: int) -> int:
    if dimensions not in spec.dimensions:
        asked = f", not {dimensions}" if dimensions < 1_000_000 else ""
        raise BadRequest(
            f"{spec.id} makes vectors of {_or(map(str, spec.dimensions))} numbers{asked}.",
            param="dimensions",
            code="invalid_value",
        )
    return dimensions


# ------------------------------------------------------------------------------------------------ kinds of parameter


def choice(
    name: str,
    field: str,
    values: Sequence[str],
    explanation: str,
    *,
    default: str | None = None,
    also: tuple[str, ...] = (),
) -> Parameter:
    """Return a parameter that takes one of a few words, spelled exactly so."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise WrongType("a string")
        if value not in values:
            raise ValueError(_or(values))
        return value

    return Parameter(name, field, _or(values), check, explanation, also, default)


def whole(name: str, field: str, low: int, high: int, explanation: str) -> Parameter:
    """Return a parameter that takes a whole number."""

    def check(value: object) -> object:
        if type(value) is not int:
            raise WrongType("an integer")
        if not low <= value <= high:
            raise ValueError(f"from {low} to {high}")
        return value

    return Parameter(name, field, f"an integer from {low} to {high}", check, explanation)


def text(name: str, field: str, longest: int, explanation: str) -> Parameter:
    """Return a parameter that takes a short printable text."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise WrongType("a string")
        if not 0 < len(value) <= longest or not value.isprintable():
            raise ValueError(f"1 to {longest} printable characters")
        return value

    return Parameter(name, field, f"a string of at most {longest} characters", check, explanation)


def one_type(field: str, types: Sequence[str]) -> Parameter:
    """Return the parameter for the type of the numbers: a list of one, since an answer has one vector an input."""

    def check(value: object) -> object:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise WrongType("an array of strings")
        if len(value) != 1 or value[0] not in types:
            raise ValueError(f"an array of one of {_or(types)}")
        return value[0]

    return Parameter(
        "embedding_types", field, f"an array of one of {_or(types)}", check, "The type of the vectors' numbers."
    )


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise WrongType("true or false")
    return value


def _only_true(value: object) -> object:
    if _flag(value) is False:
        raise ValueError("true with this model, which has no switch for it")
    return value


def _size(value: object) -> object:
    if type(value) is not int:
        raise WrongType("an integer")
    if value < 1:
        raise ValueError("at least 1")
    return value


#: On models without a switch of their own, which is all but one: true brings vectors to length 1.
NORMALIZE: Final = Parameter("normalize", "normalize", "true", _only_true, "Bring vectors to length 1.")
#: On a model with a switch.
NORMALIZE_SWITCH: Final = Parameter("normalize", "normalize", "true or false", _flag, "Bring vectors to length 1.")


def _with_spellings(parameter: Parameter, also: tuple[str, ...]) -> Parameter:
    names = tuple(name for field in also for name in (_snake(field), field))
    return Parameter(parameter.name, parameter.field, parameter.expects, parameter.check, parameter.help, names)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _or(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
