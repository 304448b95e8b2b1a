"""`embedrock doctor`: one tiny call to each model and region of the configuration, and the cure of what fails.

A call goes the way the gateway's calls go: same names, parameters, endpoint and credentials. It is made once, so that
a throttle is seen and not waited for; and all of them together end in time, whatever hangs.
"""

from __future__ import annotations

from collections.abc import Sequence

from embedrock import wiring
from embedrock.faces.doctor.calls import Limits, make
from embedrock.faces.doctor.plan import plan
from embedrock.faces.doctor.report import Report
from embedrock.settings import Settings


def examine(settings: Settings, asked: Sequence[str] = (), limits: Limits | None = None) -> Report:
    """Return what came of one call to each model and region of `settings`, and to the models `asked` for besides.

    Raises SettingsError; and EmbedrockError, before any call, when a name asked for leads nowhere.
    """
    names = wiring.check(settings)
    return Report(settings, names.regions, make(plan(settings, names, asked), settings.ca_bundle, limits or Limits()))


__all__ = ["Limits", "Report", "examine"]
