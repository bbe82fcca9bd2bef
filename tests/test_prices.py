"""Listed prices: found by the URL's host and the model's name, and never asked of the network."""

import socket
from decimal import Decimal

import pytest

import tpwidgets as tp
from tpwidgets.cost import listed as prices
from tpwidgets.cost.listed import listed
from tpwidgets.measuring.politeness import NotConfirmed, ask_first
from tpwidgets.workload.loads import Load
from tpwidgets.workload.prompts import Workload

pytestmark = pytest.mark.quick

OPENAI, ROUTER = "https://api.openai.com/v1", "https://openrouter.ai/api/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta"
AZURE = "https://name.openai.azure.com/openai/deployments/"


@pytest.fixture
def some_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price list of which the tests know what stands in it."""
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import (
        ClauseEquals,
        ClauseStartsWith,
        ModelInfo,
        ModelPrice,
        PriceVariant,
        Provider,
        Tier,
        TieredPrices,
    )

    def usd(**each: float | TieredPrices) -> ModelPrice:
        return ModelPrice(**{
            f"{name}_mtok": x if isinstance(x, TieredPrices) else Decimal(str(x))
            for name, x in each.items()
        })  # fmt: skip

    def model(name: str, price: ModelPrice, *variants: PriceVariant) -> ModelInfo:
        return ModelInfo(name, ClauseEquals(name), prices=price, price_variants=list(variants))

    batch = PriceVariant({"processing": "batch"}, usd(input=1.25, output=5))
    mini = usd(input=0.25, output=2, cache_read=0.025)
    tiers = TieredPrices(Decimal("1.25"), [Tier(200_000, Decimal("2.5"))])
    openai = [
        model("gpt-5-mini", mini),
        model("gpt-4o", usd(input=2.5, output=10, cache_read=1.25), batch),
        model("vectors", usd(input=0.02)),
        model("by-the-hour", ModelPrice(audio_hours=Decimal("0.36"))),
        model("free", usd(input=0, output=0)),
        model("thinks", usd(input=2, output=8, output_reasoning=3)),
    ]
    gemini = ModelInfo("gemini", ClauseStartsWith("gemini-2"), prices=usd(input=tiers, output=10))
    providers = [
        Provider("openai", "OpenAI", r"https://api\.openai\.com", models=openai),
        Provider("openrouter", "OpenRouter", r"https://openrouter\.ai",
                 models=[model("openai/gpt-5-mini", mini)]),
        Provider("azure", "Azure", r"https://[^.]*\.openai\.azure\.com",
                 fallback_model_providers=["openai"], models=[]),
        Provider("google", "Google", r"https://(.*\.)?googleapis\.com", models=[gemini]),
    ]  # fmt: skip
    data = DataSnapshot(providers, from_auto_update=False), "9.9", "2026-11-09"
    monkeypatch.setattr(prices, "_data", lambda: data)


@pytest.mark.usefixtures("some_prices")
@pytest.mark.parametrize(
    ("url", "model", "stated"),
    [
        (OPENAI, "gpt-5-mini", "openai gpt-5-mini; per 1M tokens: $2.00 output, $0.25 input, $0.0"),
        (OPENAI, "gpt-5-mini", ", $0.025 cached input; genai-prices 9.9, 2026-11-09"),
        ("api.openai.com/v1", "thinks", "openai thinks; per 1M tokens: $8.00 output, $2.00 input,"),
        (OPENAI, "thinks", ", $3.00 reasoning; "),
        (OPENAI, "gpt-5-mini-2031-08-07", "openai gpt-5-mini; per 1M"),
        (OPENAI, "gpt-5-mini-20310807", "openai gpt-5-mini; per 1M"),
        (OPENAI, "vectors", "openai vectors; per 1M tokens: $0 output, $0.02 input;"),
        (OPENAI, "free", "openai free; per 1M tokens: $0 output, $0 input;"),
        (ROUTER, "openai/gpt-5-mini", "openrouter openai/gpt-5-mini; per 1M tokens: $2.00"),
        (GOOGLE, "models/gemini-2.5-pro", "google gemini; per 1M tokens: $10.00 output, $1.25"),
        (f"{GOOGLE}/models/gemini-2.5-pro:streamGenerateContent", None, "google gemini; per 1M"),
        (f"{AZURE}gpt-4o?api-version=1", None, "azure gpt-4o; per 1M tokens: $10.00 output, $2.50"),
        (f"{AZURE}gpt-4o", None, "cached input; genai-prices 9.9, 2026-11-09"),
        (f"{AZURE}eu_gpt-4o_prod", None, "azure gpt-4o; per 1M tokens: $10.00 output, $2.50"),
        (f"{AZURE}eu_gpt-4o_prod", None, "9.9, taken for gpt-4o by its deployment's name, 2026-"),
    ],
)  # fmt: skip
def test_found(url: str, model: str | None, stated: str) -> None:
    found = listed(url, model)
    assert found is not None
    assert stated in found.stated


@pytest.mark.usefixtures("some_prices")
@pytest.mark.parametrize(
    ("url", "model"),
    [
        (OPENAI, "gpt-5-maxi"), (OPENAI, "eu_gpt-4o_prod"), (OPENAI, None), (OPENAI, "by-the-hour"),
        (ROUTER, "gpt-5-mini"), (f"{AZURE}free-for-all", None),
        ("https://llm.example.com/v1", "gpt-4o"), ("", "gpt-4o"), ("https://[", "gpt-4o"),
    ],
)  # fmt: skip
def test_not_guessed(url: str, model: str | None) -> None:
    assert listed(url, model) is None


@pytest.mark.usefixtures("some_prices")
def test_the_tier_that_the_prompt_falls_into() -> None:
    usual, long = (listed(GOOGLE, "gemini-2.5-pro", asked) for asked in (200_000, 200_001))
    assert usual is not None
    assert long is not None
    assert (usual.input, long.input) == (1.25, 2.5)
    assert (usual.output, long.output) == (10.0, 10.0)
    assert usual.source == "genai-prices 9.9"
    assert long.source == "genai-prices 9.9, prompts above 200,000 tokens"


@pytest.mark.usefixtures("some_prices")
def test_the_batch_tier_of_an_api_that_has_one() -> None:
    found = tp.Price.listed(OPENAI, "gpt-4o", batched=True)
    assert found is not None
    assert (found.output, found.input, found.cached_input) == (5.0, 1.25, 1.25)
    assert (found.name, found.source) == ("openai gpt-4o (batch)", "genai-prices 9.9, batch tier")
    assert tp.Price.listed(OPENAI, "gpt-5-mini", batched=True) is None
    assert tp.Price.listed(f"{AZURE}gpt-4o", batched=True) is None  # OpenAI's batches, not Azure's


def test_what_comes_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for url, model in (
        (OPENAI, "gpt-4o-mini"), ("https://api.anthropic.com/v1", "claude-sonnet-4-5-20250929"),
        (ROUTER, "openai/gpt-4o-mini"), (GOOGLE, "gemini-2.5-pro"), (f"{AZURE}gpt-4o-mini", None),
    ):  # fmt: skip
        found = listed(url, model)
        assert found is not None, url
        assert found.output is not None
        assert 0 < found.input < found.output
        assert found.source.startswith("genai-prices 0.")
        assert len(found.date) == len("2026-11-09")


@pytest.mark.parametrize("missing", [ImportError, AttributeError])
def test_without_the_package_there_is_no_price(
    missing: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise missing

    monkeypatch.setattr(prices, "_data", fail)
    assert listed(OPENAI, "gpt-4o") is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://10.0.0.7/v1"]
)
def test_a_server_of_ones_own_network_has_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(prices, "_data", lambda: looked.append(url))
    assert listed(url, "gpt-4o") is None
    assert not looked


@pytest.mark.usefixtures("some_prices")
def test_a_question_before_a_big_load_names_what_it_costs() -> None:
    endpoint = tp.Endpoint(OPENAI, model="gpt-5-mini")
    load = Load.of(64, requests=936)  # and 64 that settle: 1000 of 1000 + 100 tokens
    with pytest.raises(NotConfirmed, match=r"1\.1 M tokens to api\.openai\.com, about \$0\.45, "):
        ask_first(endpoint, Workload.of(1000, 100, 1, 0), load)


@pytest.mark.usefixtures("some_prices")
def test_a_spend_limit_needs_no_price_where_one_is_listed() -> None:
    asked = {"spend_limit_usd": 1.0, "concurrency": 64, "requests": 936, "prompt_tokens": 1000}
    with pytest.raises(NotConfirmed):  # and not for want of a price
        tp.start(OPENAI, model="gpt-5-mini", **asked)
    with pytest.raises(tp.SettingsError, match="price"):
        tp.start("https://llm.example.com/v1", model="gpt-5-mini", **asked)


def test_a_measurement_takes_the_listed_price_unless_it_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def find(*of: object) -> tp.Price:
        asked.append(of)
        return tp.Price.per_token(2.0, 0.25, source="a list", date="2026-11-09")

    monkeypatch.setattr(prices, "listed", find)
    with tp.simulate("laptop-8b", speed=50) as sim:
        run = tp.measure(sim.url, concurrency=1, requests=4, prompt_tokens=64, output_tokens=4,
                         progress=False)  # fmt: skip
    assert asked == [(run.conditions["url"], run.conditions["model"], 64)]
    said = "per 1M tokens: $2.00 output, $0.25 input; a list, 2026-11-09"
    assert run.conditions["price"] == said
    assert run.cost()["assumption"][0].endswith("price: a list, 2026-11-09")

    own = tp.Price.per_hour(4.5)
    priced = tp.Measurement(tp.Endpoint(OPENAI), Workload.of(64, 4, 1, 0), Load.of(1), 60.0, own)
    priced._look_up_price(None)
    assert (priced.price, priced.conditions["price"]) == (own, "$4.50 per hour")
    assert len(asked) == 1
