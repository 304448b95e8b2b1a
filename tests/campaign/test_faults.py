"""Twenty thousand inputs through connections that break and answers that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fault_run import check, run

if TYPE_CHECKING:
    from tests.conftest import Emulator, Expected, Gateway

INPUTS = 20_000


def test_nearly_all_come_through_at_seven_percent(own_gateway: Gateway, emulator: Emulator, expected: Expected) -> None:
    outcome = run(own_gateway, emulator, expected, inputs=INPUTS, broken=0.05, odd=0.02)

    print(f"\n7 %: {outcome.right} right, {outcome.failed} with an error, {sum(outcome.fired.values())} faults")
    check(outcome, INPUTS)
    assert outcome.right >= 0.999 * INPUTS


def test_what_fails_at_twenty_percent_fails_clearly(
    own_gateway: Gateway, emulator: Emulator, expected: Expected
) -> None:
    outcome = run(own_gateway, emulator, expected, inputs=INPUTS, broken=0.15, odd=0.05)

    print(f"\n20 %: {outcome.right} right, {outcome.failed} with an error, {sum(outcome.fired.values())} faults")
    check(outcome, INPUTS)
