"""Every form of name, good and bad."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.catalog import MODELS, Alias, ModelSpec, Names, Target, read_models
from embedrock.errors import BadRequest, EmbedrockError, ModelNotFound, ModelNotSupported

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_V1 = "amazon.titan-embed-text-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"

REGIONS = ("us-east-1", "eu-west-1", "us-west-2", "ap-northeast-2")
APP_PROFILE = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/otnfa2ysixqd"
PROVISIONED = "arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/abcdefabcdef"
CUSTOM = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.titan-embed-image-v1:0/abcdefabcdef"
CUSTOM_NOVA = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefabcdef"
IMPORTED = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abcdefabcdef"
NAMES = Names(
    REGIONS,
    aliases={
        "small": "bedrock/amazon.titan-embed-text-v2:0",
        "europe": "bedrock/eu-west-1/cohere.embed-v4:0",
        "default": "small",
        "tuned": CUSTOM,
        "films": f"bedrock/async_invoke/us.{MARENGO_2}",
        f"bedrock/{NOVA}": f"bedrock/{NOVA}",
    },
    arns={
        APP_PROFILE: "default",
        PROVISIONED: "amazon.titan-embed-text-v1:2:8k",
        CUSTOM: "amazon.titan-embed-image-v1",
        CUSTOM_NOVA: NOVA,
        IMPORTED: "cohere.embed-v4",
    },
)


def profile_arn(profile: str, region: str = "us-east-1") -> str:
    return f"arn:aws:bedrock:{region}:123456789012:inference-profile/{profile}"


def model_arn(model: str, region: str = "us-east-1", partition: str = "aws") -> str:
    return f"arn:{partition}:bedrock:{region}::foundation-model/{model}"


def refusal(name: str, names: Names = NAMES) -> EmbedrockError:
    with pytest.raises((ModelNotFound, BadRequest)) as caught:
        names.find(name)
    assert caught.value.param == "model"
    return caught.value


@pytest.mark.parametrize(
    "name, model, region, invoke_id",
    [
        # ids and other spellings of them
        (TITAN, TITAN, "us-east-1", TITAN),
        (V4, V4, "us-east-1", V4),
        ("cohere.embed-v4", V4, "us-east-1", V4),
        (MARENGO_3, MARENGO_3, "us-east-1", MARENGO_3),
        # a model that needs a profile gets the region's
        (MARENGO_2, MARENGO_2, "us-east-1", f"us.{MARENGO_2}"),
        (f"bedrock/eu-west-1/{MARENGO_2}", MARENGO_2, "eu-west-1", f"eu.{MARENGO_2}"),
        (f"bedrock/ap-northeast-2/{MARENGO_2}", MARENGO_2, "ap-northeast-2", f"apac.{MARENGO_2}"),
        (f"bedrock/eu-west-1/{MARENGO_3}", MARENGO_3, "eu-west-1", f"eu.{MARENGO_3}"),
        (f"bedrock/ap-northeast-2/{MARENGO_3}", MARENGO_3, "ap-northeast-2", MARENGO_3),
        (f"bedrock/us-west-2/{V4}", V4, "us-west-2", f"us.{V4}"),
        (f"bedrock/ap-northeast-2/{V4}", V4, "ap-northeast-2", f"global.{V4}"),
        (f"bedrock/eu-west-1/{ENGLISH}", ENGLISH, "eu-west-1", ENGLISH),
        # profiles, called from a region of theirs
        (f"us.{V4}", V4, "us-east-1", f"us.{V4}"),
        (f"global.{V4}", V4, "us-east-1", f"global.{V4}"),
        (f"eu.{V4}", V4, "eu-west-1", f"eu.{V4}"),
        (f"apac.{MARENGO_2}", MARENGO_2, "ap-northeast-2", f"apac.{MARENGO_2}"),
        ("us.cohere.embed-v4", V4, "us-east-1", f"us.{V4}"),
        (f"bedrock/us-west-2/us.{V4}", V4, "us-west-2", f"us.{V4}"),
        # LiteLLM's
        (f"bedrock/{TITAN}", TITAN, "us-east-1", TITAN),
        (f"bedrock/us.{MARENGO_2}", MARENGO_2, "us-east-1", f"us.{MARENGO_2}"),
        (f"bedrock/eu-west-1/{TITAN}", TITAN, "eu-west-1", TITAN),
        # ARNs
        (model_arn(TITAN, "us-west-2"), TITAN, "us-west-2", TITAN),
        (model_arn(V4, "eu-west-1"), V4, "eu-west-1", f"eu.{V4}"),
        (model_arn(V4, ""), V4, "us-east-1", V4),
        (model_arn(TITAN, partition="aws-us-gov"), TITAN, "us-east-1", TITAN),
        (profile_arn(f"us.{V4}"), V4, "us-east-1", profile_arn(f"us.{V4}")),
        (f"bedrock/{profile_arn(f'eu.{V4}', 'eu-west-1')}", V4, "eu-west-1", profile_arn(f"eu.{V4}", "eu-west-1")),
        (f"bedrock/us-east-1/{profile_arn(f'us.{V4}')}", V4, "us-east-1", profile_arn(f"us.{V4}")),
        (APP_PROFILE, TITAN, "us-west-2", APP_PROFILE),
        (f"bedrock/{APP_PROFILE}", TITAN, "us-west-2", APP_PROFILE),
        (PROVISIONED, TITAN_V1, "eu-west-1", PROVISIONED),
        (CUSTOM, "amazon.titan-embed-image-v1", "us-east-1", CUSTOM),
        (IMPORTED, V4, "us-east-1", IMPORTED),
        # the operator's aliases
        ("small", TITAN, "us-east-1", TITAN),
        ("default", TITAN, "us-east-1", TITAN),
        ("europe", V4, "eu-west-1", f"eu.{V4}"),
        ("tuned", "amazon.titan-embed-image-v1", "us-east-1", CUSTOM),
        (f"bedrock/{NOVA}", NOVA, "us-east-1", NOVA),
    ],
)
def test_find_resolves(name: str, model: str, region: str, invoke_id: str) -> None:
    assert NAMES.find(name) == Target(MODELS[model], name, region, invoke_id, background=False)


@pytest.mark.parametrize(
    "name, model, region, invoke_id",
    [
        (f"bedrock/async_invoke/{NOVA}", NOVA, "us-east-1", NOVA),
        (f"async_invoke/{NOVA}", NOVA, "us-east-1", NOVA),
        (f"bedrock/async_invoke/us.{MARENGO_2}", MARENGO_2, "us-east-1", MARENGO_2),
        (f"bedrock/async_invoke/eu.{MARENGO_3}", MARENGO_3, "eu-west-1", MARENGO_3),
        (f"bedrock/async_invoke/eu-west-1/{MARENGO_3}", MARENGO_3, "eu-west-1", MARENGO_3),
        (f"bedrock/eu-west-1/async_invoke/{MARENGO_3}", MARENGO_3, "eu-west-1", MARENGO_3),
        (f"bedrock/async_invoke/{profile_arn(f'us.{MARENGO_2}')}", MARENGO_2, "us-east-1", MARENGO_2),
        ("films", MARENGO_2, "us-east-1", MARENGO_2),
        # a tuned model is another one than its base
        (f"bedrock/async_invoke/{CUSTOM_NOVA}", NOVA, "us-east-1", CUSTOM_NOVA),
    ],
)
def test_async_invoke_calls_the_base_id_in_the_background(name: str, model: str, region: str, invoke_id: str) -> None:
    assert NAMES.find(name) == Target(MODELS[model], name, region, invoke_id, background=True)


@pytest.mark.parametrize(
    "name, error, words",
    [
        ("", BadRequest, "empty"),
        ("x" * 2049, BadRequest, "2,048"),
        ("bad\nname", BadRequest, "control"),
        (f"{TITAN}\x00", BadRequest, "control"),
        ("gpt-4o", ModelNotFound, "'gpt-4o' does not exist"),
        ("bedrock/", ModelNotFound, "does not exist"),
        (f"bedrock//{TITAN}", ModelNotFound, "does not exist"),
        (f"bedrock/bedrock/{TITAN}", ModelNotFound, "does not exist"),
        (f"bedrock/async_invoke/async_invoke/{NOVA}", ModelNotFound, "does not exist"),
        (f"bedrock/us-east-1/us-west-2/{TITAN}", ModelNotFound, "does not exist"),
        (f"bedrock/converse/{TITAN}", ModelNotFound, "does not exist"),
        ("bedrock/small", ModelNotFound, "does not exist"),
        # whole and case-sensitive, never by substring
        (TITAN.upper(), ModelNotFound, f"Did you mean '{TITAN}'"),
        ("amazon.titan-embed-text-v2", ModelNotFound, f"Did you mean '{TITAN}'"),
        (f" {TITAN}", ModelNotFound, f"Did you mean '{TITAN}'"),
        (f"{TITAN}x", ModelNotFound, f"Did you mean '{TITAN}'"),
        ("cohere.embed-v4:1", ModelNotFound, f"Did you mean '{V4}'"),
        ("defualt", ModelNotFound, "Did you mean 'default'"),
        # profiles that do not exist
        (f"apac.{V4}", ModelNotFound, f"us.{V4}, eu.{V4}, global.{V4}"),
        (f"moon.{V4}", ModelNotFound, f"us.{V4}, eu.{V4}, global.{V4}"),
        (f"us.{TITAN}", ModelNotFound, f"Use {TITAN}"),
        (f"us.us.{V4}", ModelNotFound, "does not exist"),
        # variants
        ("amazon.titan-embed-text-v1:2:8k", ModelNotSupported, "only as provisioned throughput"),
        ("bedrock/cohere.embed-english-v3:0:512", ModelNotSupported, f"Use {ENGLISH}"),
        (model_arn("amazon.titan-embed-text-v2:0:8k"), ModelNotSupported, f"Use {TITAN}"),
        # regions
        (f"bedrock/sa-east-1/{TITAN}", BadRequest, "The region 'sa-east-1' is not one this gateway may call"),
        (model_arn(TITAN, "eu-central-1"), BadRequest, "The region 'eu-central-1' is not one this gateway may call"),
        (profile_arn(f"eu.{V4}", "eu-north-1"), BadRequest, "not one this gateway may call"),
        (f"bedrock/eu-west-1/{model_arn(TITAN)}", BadRequest, "different regions"),
        # ARNs
        ("arn:", BadRequest, "well-formed"),
        ("arn:aws:s3:::bucket/key", BadRequest, "well-formed"),
        (model_arn(TITAN, "us-east"), BadRequest, "well-formed"),
        (model_arn("anthropic.claude-3"), ModelNotFound, "not an embedding model"),
        (model_arn(f"us.{V4}"), ModelNotFound, "not an embedding model"),
        (f"arn:aws:bedrock:us-east-1:123456789012:foundation-model/{TITAN}", ModelNotFound, "not one of a model"),
        (profile_arn(V4), ModelNotFound, "inference profile"),
        (profile_arn(f"us.{TITAN}"), ModelNotFound, "inference profile"),
        (f"arn:aws:bedrock:us-east-1::inference-profile/us.{V4}", ModelNotFound, "not one of a model"),
        ("arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcdef", ModelNotFound, "not one of a model"),
        (APP_PROFILE + "x", ModelNotFound, "application-inference-profile .* configuration"),
        (PROVISIONED + "x", ModelNotFound, "provisioned-model .* configuration"),
        (CUSTOM + "x", ModelNotFound, "custom-model .* configuration"),
        (IMPORTED + "x", ModelNotFound, "imported-model .* configuration"),
    ],
)
def test_find_refuses(name: str, error: type[EmbedrockError], words: str) -> None:
    refused = refusal(name)

    assert type(refused) is error
    assert re.search(words.replace("(", r"\("), refused.message)
    assert "123456789012" not in refused.message
    assert "arn:" not in refused.message


def test_message_quotes_a_long_name_shortened_and_printable() -> None:
    shown = refusal("né\u2028\ud800'\"\\" + "y" * 2000).message

    assert "'né?????yyy" in shown
    assert len(shown) < 200


@pytest.mark.parametrize(
    "name", ["bedrock/x/arn:aws:bedrock:us-east-1:123456789012:z", "ARN:aws:123456789012", "xarn:1"]
)
def test_message_never_holds_an_arn_wherever_it_stands(name: str) -> None:
    assert refusal(name).message == "The model does not exist."


def test_profile_without_a_region_of_its_own_is_left_to_bedrock() -> None:
    assert Names(["us-east-1"]).find(f"eu.{V4}").region == "us-east-1"


@pytest.mark.parametrize(
    "region, model, invoke_id",
    [
        ("us-gov-west-1", V4, f"global.{V4}"),
        ("us-gov-west-1", MARENGO_2, MARENGO_2),
        ("ca-central-1", V4, f"global.{V4}"),
        ("ca-central-1", MARENGO_3, MARENGO_3),
        ("sa-east-1", V4, f"global.{V4}"),
        ("sa-east-1", TITAN, TITAN),
        ("eu-central-1", NOVA, NOVA),
    ],
)
def test_profile_follows_the_region(region: str, model: str, invoke_id: str) -> None:
    assert Names([region]).find(model).invoke_id == invoke_id


def test_region_of_a_form_nobody_knows_yet_works_when_the_operator_names_it() -> None:
    assert Names(["moon1", "us-east-1"]).find(f"bedrock/moon1/{TITAN}").region == "moon1"


@pytest.mark.parametrize(
    "aliases, words",
    [
        ({"a": "b"}, "alias 'a': The model 'b' does not exist"),
        ({"a": "a"}, "alias 'a'"),
        ({"a": "b", "b": "a"}, "alias 'a': it leads in a circle"),
        ({"a": "b", "b": "c", "c": "b"}, "alias 'a': it leads in a circle"),
        ({"": TITAN}, "alias '': The model is empty"),
        ({"a": ""}, "alias 'a': The model is empty"),
        ({"a\n": TITAN}, r"alias 'a\?'"),
        ({"a": "bedrock/sa-east-1/cohere.embed-v4"}, "alias 'a': The region 'sa-east-1'"),
        ({"a": "amazon.titan-embed-text-v1:2:8k"}, "alias 'a': .* provisioned"),
        ({"a": APP_PROFILE}, "alias 'a': .* configuration"),
        ({TITAN: ENGLISH}, f"alias '{TITAN}': it is a name of {TITAN} and cannot lead to {ENGLISH}"),
        ({"cohere.embed-v4": TITAN}, "alias 'cohere.embed-v4'"),
        ({f"bedrock/us-west-9/{TITAN}": ENGLISH}, "alias 'bedrock/us-west-9/"),
        ({f"us.{V4}": TITAN}, f"alias 'us.{V4}'"),
    ],
)
def test_alias_that_cannot_work_is_refused_at_construction(aliases: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Names(["us-east-1"], aliases=aliases)


def test_alias_may_repeat_a_models_name_for_the_same_model() -> None:
    """LiteLLM's files often name an entry like its model, to pin the region."""
    names = Names(["us-east-1", "eu-west-1"], aliases={TITAN: f"bedrock/eu-west-1/{TITAN}", V4: V4})

    assert (names.find(TITAN).region, names.find(V4).region) == ("eu-west-1", "us-east-1")


# ---------------------------------------------------------------- what an alias says besides the model

CHAIN = Names(
    ["us-east-1"],
    aliases={
        "bare": V4,
        "short": Alias(V4, {"output_dimension": 256, "truncate": "END"}),
        "query": Alias("short", {"input_type": "search_query", "truncate": "START"}),
        "loose": Alias("query", {}, drop_params=True),
        "strict": Alias("loose", {"truncate": "NONE"}, drop_params=False, token_encoding="o200k_base"),
        "newest": Alias("strict", {}, token_encoding="cl100k_base"),
        "plain": "strict",
        TITAN: Alias(TITAN, {"dimensions": 256}),
        "pinned": Alias(TITAN, {"normalize": False}),
    },
)


SHORT = {"output_dimension": 256, "truncate": "END"}
QUERY = {"input_type": "search_query", "truncate": "START"}


@pytest.mark.parametrize(
    "name, model, params, drop_params, encoding",
    [
        ("bare", V4, [{}], None, "cl100k_base"),
        ("short", V4, [SHORT], None, "cl100k_base"),
        ("query", V4, [QUERY, SHORT], None, "cl100k_base"),
        ("loose", V4, [{}, QUERY, SHORT], True, "cl100k_base"),
        ("strict", V4, [{"truncate": "NONE"}, {}, QUERY, SHORT], False, "o200k_base"),
        ("newest", V4, [{}, {"truncate": "NONE"}, {}, QUERY, SHORT], False, "cl100k_base"),
        ("plain", V4, [{}, {"truncate": "NONE"}, {}, QUERY, SHORT], False, "o200k_base"),
        (TITAN, TITAN, [{"dimensions": 256}], None, "cl100k_base"),
        ("pinned", TITAN, [{"normalize": False}, {"dimensions": 256}], None, "cl100k_base"),
    ],
)
def test_chain_is_one_alias_that_says_what_the_first_of_it_says(
    name: str, model: str, params: list[dict[str, object]], drop_params: bool | None, encoding: str
) -> None:
    """Parameters come the nearer first; `false` is a word too; token ids are of the usual vocabulary by default."""
    target = CHAIN.find(name)

    assert target.alias is not None
    assert (target.spec.id, target.alias.model) == (model, model)
    assert [target.alias.params, *target.alias.inherited] == params
    assert (target.alias.drop_params, target.token_encoding) == (drop_params, encoding)


@pytest.mark.parametrize("name", [V4, f"us.{V4}", f"bedrock/{TITAN}"])
def test_name_that_is_no_alias_says_nothing_besides_the_model(name: str) -> None:
    target = CHAIN.find(name)

    assert (target.alias, target.token_encoding) == (None, "cl100k_base")


def test_aliases_given_are_not_changed_by_their_chains() -> None:
    inner, outer = Alias(V4, {"truncate": "END"}), Alias("inner", {"max_tokens": 9})

    Names(["us-east-1"], aliases={"inner": inner, "outer": outer})

    assert (inner.params, outer.params, outer.model) == ({"truncate": "END"}, {"max_tokens": 9}, "inner")


def test_names_tell_the_operators_own() -> None:
    assert Names(["us-east-1"], aliases={"b": V4, "a": "b"}).aliases == ("b", "a")
    assert Names(["us-east-1"]).aliases == ()


@pytest.mark.parametrize(
    "arns, words",
    [
        ({"nonsense": TITAN}, "entry 1: not the ARN"),
        ({APP_PROFILE.replace("us-west-2", ""): TITAN}, "entry 1: not the ARN"),
        ({APP_PROFILE: TITAN, PROVISIONED: "nonsense"}, "entry 2: The model 'nonsense'"),
        ({APP_PROFILE.replace("us-west-2", "sa-east-1"): TITAN}, "entry 1: its region"),
        ({APP_PROFILE.replace("application-inference-profile", "prompt-router"): TITAN}, "entry 1: ARNs of kind"),
        ({profile_arn(f"us.{V4}"): TITAN}, f"entry 1: it is a name of {V4}"),
    ],
)
def test_arn_that_cannot_work_is_refused_at_construction(arns: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Names(REGIONS, arns=arns)

    assert "123456789012" not in str(caught.value)


def test_no_region_is_refused() -> None:
    with pytest.raises(ValueError, match="regions"):
        Names([])


def test_models_of_the_operator_are_found() -> None:
    mine = read_models(
        """
        [[models]]
        id = "acme.embed-v1"
        name = "Embed"
        provider = "Acme"
        family = "cohere_v3"
        lifecycle = "ACTIVE"
        input_modalities = ["text"]
        dimensions = [8]
        default_dimensions = 8
        max_inputs_per_call = 1
        output_types = ["float"]
        sources = ["made up"]
        profile_prefixes = ["au"]
        """
    )
    names = Names(["us-east-1", "ap-southeast-2"], models={**MODELS, **mine})

    assert names.find("au.acme.embed-v1").region == "ap-southeast-2"
    assert names.find(TITAN).spec is MODELS[TITAN]


def test_find_remembers_a_bounded_number_of_names() -> None:
    names = Names(["us-east-1"], aliases={f"alias-{number}": TITAN for number in range(1500)})
    for number in range(1500):
        names.find(f"alias-{number}")

    assert names.find("alias-1499") is names.find("alias-1499")
    assert names._remembered.cache_info().currsize == 1024


def test_find_does_not_remember_a_name_that_fails() -> None:
    names = Names(["us-east-1"])
    refusal("nonsense", names)

    assert names._remembered.cache_info().currsize == 0


PIECES = [
    "bedrock",
    "async_invoke",
    "arn",
    "aws",
    "us",
    "eu",
    "global",
    "us-gov",
    "foundation-model",
    "inference-profile",
    "custom-model",
    "123456789012",
    "small",
    "sa-east-1",
    "/",
    "/",
    ":",
    ":",
    ".",
    ".",
    "::",
    "arn:aws:bedrock:",
]
FORMS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from([*MODELS, *REGIONS, *PIECES]),
        max_size=12,
    ).map("".join),
    st.builds(
        "arn:{}:bedrock:{}:{}:{}/{}".format,
        st.sampled_from(["aws", "aws-us-gov", "aws-cn", "", "x"]),
        st.sampled_from([*REGIONS, "", "sa-east-1", "nowhere"]),
        st.sampled_from(["", "123456789012", "12"]),
        st.sampled_from(["foundation-model", "inference-profile", "custom-model", "provisioned-model", "x"]),
        st.one_of(st.sampled_from([*MODELS, *(f"us.{model}" for model in MODELS)]), st.text(max_size=20)),
    ),
)


@given(FORMS)
def test_find_answers_or_raises_what_it_declares(name: str) -> None:
    try:
        target = NAMES.find(name)
    except (ModelNotFound, ModelNotSupported, BadRequest) as exc:
        assert exc.param == "model"
        assert "arn:" not in exc.message
        assert exc.message.isprintable()
    else:
        assert (target.name, target.spec) == (name, MODELS[target.spec.id])
        assert target.region in REGIONS


WRAPPERS = [
    "{}",
    "bedrock/{}",
    "bedrock/us-west-2/{}",
    "bedrock/async_invoke/{}",
    "bedrock/us-west-2/async_invoke/{}",
    "bedrock/async_invoke/us-west-2/{}",
]


@pytest.mark.parametrize("spec, wrapper", list(product(MODELS.values(), WRAPPERS)))
def test_every_spelling_of_a_model_resolves_to_it(spec: ModelSpec, wrapper: str) -> None:
    ids = [spec.id, *spec.aliases]
    spellings = [*ids, *(f"{prefix}.{model}" for prefix, model in product(spec.profile_prefixes, ids))]
    arns = [
        model_arn(spec.id, "us-west-2"),
        *(profile_arn(f"{p}.{spec.id}", "us-west-2") for p in spec.profile_prefixes),
    ]

    for name in map(wrapper.format, [*spellings, *arns]):
        target = NAMES.find(name)
        assert target.spec is spec
        assert target.background is ("async_invoke" in name)
        assert not target.background or target.invoke_id == spec.id
