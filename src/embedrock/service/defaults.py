"""What a request wants of a model when it does not say: request, then alias, then the operator's defaults.

A family's own defaults come last, from its table. What is found is new each time or never changed: no request can
leave something behind for the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from embedrock.catalog import Names, Target
from embedrock.errors import BadRequest, EmbedrockError
from embedrock.families import FAMILIES, Family
from embedrock.families.parameters import Wanted

_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Layers:
    """What the operator says about a name, checked, the stronger first."""

    values: Sequence[Mapping[str, object]]
    drop: bool


class Defaults:
    """The operator's defaults. `by_model`: any name of a model → its parameters.

    Raises ValueError that names what is wrong in them, or in an alias of `names`.
    """

    def __init__(
        self,
        names: Names | None = None,
        by_model: Mapping[str, Mapping[str, object]] | None = None,
        *,
        drop_params: bool = False,
    ) -> None:
        self._drop = drop_params
        self._by_model: dict[str, Mapping[str, object]] = {}  # id → checked
        self._by_alias: dict[str, Mapping[str, object]] = {}  # alias → checked
        self._usual: dict[tuple[str, int | None], Wanted] = {}
        for name, members in (by_model or {}).items():
            if names is None:
                raise ValueError(f"defaults of {name[:60]!r}: there are no names")
            self._add(names, name, members)
        for name in names.aliases if names else ():
            target = names.find(name) if names else None
            if target is not None and target.alias is not None:
                layers = (target.alias.params, *target.alias.inherited)
                read = [_read(target, layer, f"alias {name[:100]!r}") for layer in layers]
                self._by_alias[name] = {key: value for layer in reversed(read) for key, value in layer.items()}

    def _add(self, names: Names, name: str, members: Mapping[str, object]) -> None:
        where = f"defaults of {name[:100]!r}"
        try:
            target = names.find(name)
        except EmbedrockError as exc:
            raise ValueError(f"{where}: {exc.message}") from None
        if target.spec.id in self._by_model:
            raise ValueError(f"{where}: {target.spec.id} has defaults already, under another name")
        self._by_model[target.spec.id] = _read(target, members, where)

    def wanted(
        self, target: Target, family: Family, dimensions: int | None, params: Sequence[Mapping[str, object]]
    ) -> tuple[Wanted, tuple[str, ...]]:
        """Return what is wanted, and the parameters that were dropped.

        Raises BadRequest naming the parameter that is unknown, wrong, or not offered by the model.
        """
        if not params:  # nearly always
            key = (target.name, dimensions)
            found = self._usual.get(key)
            if found is None:
                found = self._resolve(target, family, dimensions, ())
                if len(self._usual) >= _REMEMBERED:
                    self._usual.clear()
                self._usual[key] = found
            return found, ()
        dropped: list[str] = []
        layers = []
        for members in params:
            known, unknown = family.table.read(members)
            if unknown and not self._operators(target).drop:
                raise _unknown(unknown[0], target, family)
            dropped += unknown
            layers.append(known)
        return self._resolve(target, family, dimensions, layers), tuple(dict.fromkeys(dropped))

    def _resolve(
        self, target: Target, family: Family, dimensions: int | None, layers: Sequence[Mapping[str, object]]
    ) -> Wanted:
        first: list[Mapping[str, object]] = [] if dimensions is None else [{"dimensions": dimensions}]
        for layer in layers[:1] if first else ():
            if layer.get("dimensions", dimensions) != dimensions:
                raise BadRequest(
                    "'dimensions' contradicts another spelling of it.", param="dimensions", code="invalid_value"
                )
        return family.table.resolve(target.spec, [*first, *layers, *self._operators(target).values])

    def _operators(self, target: Target) -> _Layers:
        alias = target.alias
        values = (self._by_alias.get(target.name, {}), self._by_model.get(target.spec.id, {}))
        return _Layers(values, self._drop if alias is None or alias.drop_params is None else alias.drop_params)


def _read(target: Target, members: Mapping[str, Any], where: str) -> dict[str, object]:
    """Return an operator's members, checked against the model. Raises ValueError."""
    family = FAMILIES[target.spec.family]
    try:
        known, unknown = family.table.read(members)
        if unknown:
            raise _unknown(unknown[0], target, family)
        family.table.resolve(target.spec, [known])
    except BadRequest as exc:
        raise ValueError(f"{where}: {exc.message}") from None
    return known


def _unknown(name: str, target: Target, family: Family) -> BadRequest:
    shown = name if name.isprintable() and len(name) <= 100 else "…"
    known = ", ".join(parameter.name for parameter in family.table.all)
    return BadRequest(
        f"Unknown parameter: '{shown}'. {target.spec.id} takes {known}.", param=shown, code="unsupported_parameter"
    )
