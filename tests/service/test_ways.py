"""Places that serve a model: one pace for each, whatever names lead there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from embedrock.catalog import Alias, Names
from embedrock.service.pacer import Quota
from embedrock.service.ways import Ways

from .stand_ins import ENGLISH, TITAN, V4, StandIn

ALIASES: dict[str, str | Alias | Sequence[Alias]] = {
    "mine": Alias(TITAN, {"normalize": True}),
    "pool": [Alias(V4, region="eu-west-1"), Alias(V4, region="us-east-1", account="other")],
}
NAMES = Names(["us-east-1", "eu-west-1"], aliases=ALIASES)


def make() -> Ways:
    regions = {place: StandIn(lambda _: b"") for place in ("us-east-1", "eu-west-1", "other@us-east-1")}
    return Ways(regions, lambda place, model: Quota(60 if (place, model) == ("us-east-1", TITAN) else None))


def test_names_of_one_model_at_one_place_share_its_pace_and_health() -> None:
    ways = make()

    (plain,), (alias,), (arn,), (elsewhere,), (another,) = (
        ways.of(NAMES.find(name))
        for name in (
            TITAN,
            "mine",
            f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}",
            f"bedrock/eu-west-1/{TITAN}",
            ENGLISH,
        )
    )

    assert plain.pacer is alias.pacer is arn.pacer
    assert plain.health is alias.health is arn.health
    assert len({id(way.pacer) for way in (plain, elsewhere, another)}) == 3
    assert plain.pacer.quota == Quota(60)
    assert elsewhere.pacer.quota == another.pacer.quota == Quota()
    assert [way.region for way in (plain, elsewhere)] == ["us-east-1", "eu-west-1"]


def test_pool_has_a_way_to_each_of_its_places_with_their_own_credentials() -> None:
    ways = make()

    first, second = ways.of(NAMES.find("pool"))

    assert (first.region, second.region) == ("eu-west-1", "us-east-1")
    assert first.upstream is not second.upstream
    assert second.pacer is not ways.of(NAMES.find(f"bedrock/us-east-1/{V4}"))[0].pacer, "another account's quota"
    assert set(ways.all()) == {("eu-west-1", V4), ("other@us-east-1", V4), ("us-east-1", V4)}


def test_ways_are_the_same_each_time() -> None:
    """Requests for a model find each other by them."""
    ways = make()

    assert ways.of(NAMES.find(TITAN)) is ways.of(NAMES.find(TITAN))
    assert ways.of(NAMES.find(TITAN)) == ways.of(NAMES.find(f"bedrock/{TITAN}"))


def test_guardrails_have_a_pace_of_their_own() -> None:
    ways = make()

    way = ways.of_guardrail(NAMES.find(TITAN))

    assert way.pacer is not ways.of(NAMES.find(TITAN))[0].pacer
    assert way.upstream is ways.of(NAMES.find(TITAN))[0].upstream
    assert way is ways.of_guardrail(NAMES.find("mine"))


def test_as_many_names_as_callers_can_think_of_take_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedrock.service.ways._REMEMBERED", 10)
    ways = make()
    pacer = ways.of(NAMES.find(V4))[0].pacer

    for account in range(100):
        arn = f"arn:aws:bedrock:us-east-1:{account:012}:inference-profile/us.{V4}"
        (way,) = ways.of(NAMES.find(arn))
        assert way.invoke_id == arn
        assert way.pacer is pacer

    assert len(ways._by_name) <= 10
    assert len(ways._found) <= 10


@pytest.mark.parametrize(
    "quota, processes, part",
    [(Quota(), 4, Quota()), (Quota(60, 300_000), 4, Quota(15, 75_000)), (Quota(None, 10), 1, Quota(None, 10))],
)
def test_quota_is_shared_among_processes(quota: Quota, processes: int, part: Quota) -> None:
    assert quota.shared_by(processes) == part
