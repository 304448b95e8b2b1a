"""The ways to a model: each place that serves it, with the pace and the health of calls there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from embedrock.catalog import Target
from embedrock.service.health import Health
from embedrock.service.pacer import Pacer, Quota
from embedrock.upstream.bedrock import Bedrock

_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One place: the connections to it, and what to call there."""

    upstream: Bedrock
    pacer: Pacer
    region: str
    invoke_id: str = ""
    health: Health = field(default_factory=Health)


class Ways:
    """Finds the ways to a target. There is one pace for each place and model, whatever names lead there.

    `quota`: of a model at a place, by the place's name and the model's id.
    """

    def __init__(self, upstreams: Mapping[str, Bedrock], quota: Callable[[str, str], Quota] | None = None) -> None:
        self._upstreams = upstreams
        self._quota = quota or (lambda *_: Quota())
        self._shared: dict[tuple[str, str], tuple[Pacer, Health]] = {}
        self._by_name: dict[str, tuple[Way, ...]] = {}
        self._found: dict[tuple[str, str, str], Way] = {}

    def of(self, target: Target) -> tuple[Way, ...]:
        """Return the ways to a target, the one its name says first."""
        ways = self._by_name.get(target.name)
        if ways is None:
            if len(self._by_name) >= _REMEMBERED:
                self._by_name.clear()
                self._found.clear()
            ways = self._by_name[target.name] = tuple(self._way(place) for place in (target, *target.others))
        return ways

    def of_guardrail(self, target: Target) -> Way:
        """Return the way to the guardrails beside a target's model."""
        return self._make(target.place, "guardrail", "", target.region)

    def of_jobs(self, place: str, region: str) -> Way | None:
        """Return the way to the jobs at a place, which have a quota of their own; None: there is no such place."""
        return self._make(place, "jobs", "", region) if place in self._upstreams else None

    def all(self) -> Mapping[tuple[str, str], Pacer]:
        """Return the pacers in use, by place and model."""
        return {key: pacer for key, (pacer, _) in self._shared.items()}

    def _way(self, target: Target) -> Way:
        return self._make(target.place, target.spec.id, target.invoke_id, target.region)

    def _make(self, place: str, model: str, invoke_id: str, region: str) -> Way:
        key = (place, model, invoke_id)
        way = self._found.get(key)
        if way is None:
            if (place, model) not in self._shared:
                self._shared[place, model] = (Pacer(self._quota(place, model)), Health())
            pacer, health = self._shared[place, model]
            way = self._found[key] = Way(self._upstreams[place], pacer, region, invoke_id, health)
        return way
