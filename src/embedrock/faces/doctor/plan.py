"""Which calls the configuration is about, and whose credentials each is made with. Calls nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from embedrock import wiring
from embedrock.accounts import Account
from embedrock.catalog import Names, Target
from embedrock.errors import BadRequest, EmbedrockError
from embedrock.faces.doctor.check import TEXT, Check, Login
from embedrock.families import FAMILIES
from embedrock.families.parameters import Wanted
from embedrock.inputs import Inputs
from embedrock.service.checks import prepare
from embedrock.service.defaults import Defaults
from embedrock.settings import Settings
from embedrock.upstream.bedrock import endpoint
from embedrock.upstream.credentials import FixedCredentials, source
from embedrock.upstream.sigv4 import Credentials

#: What is called when the configuration names no model.
USUAL: Final = ("amazon.titan-embed-text-v2:0", "cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0")


def plan(settings: Settings, names: Names, asked: Sequence[str] = ()) -> list[Check]:
    """Return the calls to make, each once, in the configuration's order; those `asked` for last.

    Raises EmbedrockError for a name that leads nowhere.
    """
    defaults = Defaults(names, settings.default_model_params, drop_params=settings.drop_params)
    logins = _logins(settings, names)
    given = (*names.aliases, *settings.arns, *settings.default_model_params, *asked)
    found: dict[tuple[str, str, bytes], Check] = {}
    for name in given or USUAL:
        for target in (_at_once(names, target) for target in _targets(names, name)):
            wanted, body = _tiny(target, defaults)
            login = logins[target.account]
            given_url = login.account.endpoint or settings.runtime_url
            url = given_url or endpoint(target.region, fips=settings.fips, dual_stack=settings.dual_stack)
            new = Check(target, login, wanted, body, url, given_url is not None)
            check = found.setdefault((target.place, target.invoke_id, body), new)
            if target.name not in check.names:
                check.names.append(target.name)
    return list(found.values())


def _targets(names: Names, name: str) -> Iterator[Target]:
    """Yield all places a name leads to; and where it says no region, the same model in the other regions."""
    target = names.find(name)
    yield from (target, *target.others)
    alias = target.alias
    model = (alias.model if alias else name).removeprefix("bedrock/")
    by_profile = target.invoke_id != target.spec.id and target.invoke_id in model
    if target.account or target.others or by_profile or (alias and alias.region):
        return
    for region in names.regions:
        try:
            other = names.find(f"bedrock/{region}/{model}")
        except EmbedrockError:
            continue  # the name says a region itself
        if region != target.region:
            yield other


def _at_once(names: Names, target: Target) -> Target:
    """Return a target of jobs as one that answers at once: a job would write to S3, and take its time."""
    if not target.background:
        return target
    if target.invoke_id != target.spec.id:  # a model of the operator's own
        return replace(target, background=False)
    found = names.find(f"bedrock/{target.region}/{target.spec.id}")
    return replace(found, name=target.name, alias=target.alias, account=target.account)


def _tiny(target: Target, defaults: Defaults) -> tuple[Wanted, bytes]:
    """Return a request of one word, with the operator's parameters as far as they are for texts."""
    family = FAMILIES[target.spec.family]
    wanted, _ = defaults.wanted(target, family, None, ())
    try:
        prepare(target.spec, family, Inputs([TEXT], listed=False), wanted)
    except BadRequest:
        wanted = family.table.resolve(target.spec, [])
    return wanted, family.build_request(target.spec, [TEXT], wanted)


def _logins(settings: Settings, names: Names) -> dict[str, Login]:
    """Return whose credentials are used, by the account's name in a target."""
    own = _login(replace(settings.account, bearer=settings.bearer_token), None)
    if settings.emulated:
        own = Login(
            Account(), "the emulator's own", "--emulator", FixedCredentials(Credentials("emulator", "emulator"))
        )
    found = {"": own}
    usable, _ = wiring.usable_entries(settings)
    for name in dict.fromkeys(entry.name for entry in usable):
        target = names.find(name)
        entries = [entry for entry in usable if entry.name == name]
        for place, entry in zip((target, *target.others), entries, strict=True):
            if place.account not in found:
                account = replace(entry.account, region=entry.account.region or place.region)  # STS is asked there
                found[place.account] = _login(account, entry.line)
    return found


def _login(account: Account, line: int | None) -> Login:
    """Return where an account's credentials come from. `line`: of the entry that says so; None: the gateway's own."""
    of = f" of the entry in line {line}" if line else ""
    if account.bearer:
        fix = f"api_key{of}" if line else "AWS_BEARER_TOKEN_BEDROCK"
        return Login(account, f"a Bedrock API key, {fix}; it wins over all other credentials", fix)
    if account.role_arn:
        role = f"role {account.role_arn.rpartition('/')[2]!r}{of}"
        return Login(account, role, f"{role}, and what assumes it", source(account))
    if account.access_key:
        fix = f"aws_access_key_id, aws_secret_access_key and aws_session_token{of}"
        return Login(account, f"keys{of}", fix, source(account))
    profile = f"profile {account.profile!r}{of}" if account.profile else "AWS's chain"
    return Login(account, profile, profile)
