"""Listed prices: found by the URL's host and the model's name, and never asked of the network."""

import json
import re
import socket
from dataclasses import asdict, replace
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest

import tpwidgets as tp
from tpwidgets.cost import listed as prices
from tpwidgets.cost.at_point import estimate
from tpwidgets.cost.listed import listed, unlisted
from tpwidgets.cost.table import cost_rows
from tpwidgets.measuring.politeness import NotConfirmed, ask_first
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window
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
        ConditionalPrice,
        ModelInfo,
        ModelPrice,
        PriceVariant,
        Provider,
        Tier,
        TieredPrices,
        TimeOfDateConstraint,
    )

    def usd(**each: float | TieredPrices) -> ModelPrice:
        return ModelPrice(**{
            f"{name}_mtok": x if isinstance(x, TieredPrices) else Decimal(str(x))
            for name, x in each.items()
        })  # fmt: skip

    def model(
        name: str, price: ModelPrice | list[ConditionalPrice], *variants: PriceVariant
    ) -> ModelInfo:
        return ModelInfo(name, ClauseEquals(name), prices=price, price_variants=list(variants))

    def between(start: int, end: int, **each: float) -> ConditionalPrice:
        span = TimeOfDateConstraint(time(start, tzinfo=UTC), time(end, 30, tzinfo=UTC))
        return ConditionalPrice(span, prices=usd(**each))

    batch = PriceVariant({"processing": "batch"}, usd(input=1.25, output=5))
    mini = usd(input=0.25, output=2, cache_read=0.025)
    tiers = TieredPrices(Decimal("1.25"), [Tier(200_000, Decimal("2.5"))])
    openai = [
        model("gpt-5-mini", mini),
        model("gpt-4o", usd(input=2.5, output=10, cache_read=1.25), batch),
        model("vectors", usd(input=0.02)),
        model("by-the-hour", ModelPrice(audio_hours=Decimal("0.36"))),
        model("free", usd(input=0, output=0)),
        model("searches", ModelPrice(input_mtok=Decimal(3), requests_kcount=Decimal(14))),
        model("writes", usd(input=3, output=15, cache_write=3.75)),
        model(
            "by-the-clock",
            [
                ConditionalPrice(prices=usd(output=1)),
                between(1, 4, output=2),
                between(6, 10, output=3),
            ],
        ),
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
        (OPENAI, "gpt-5-mini", ", $0.025 cached input; genai-prices 9.9, data of 2026-11-09"),
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
        (f"{AZURE}gpt-4o", None, "cached input; genai-prices 9.9, data of 2026-11-09"),
        (f"{AZURE}eu_gpt-4o_prod", None, "azure gpt-4o; per 1M tokens: $10.00 output, $2.50"),
        (f"{AZURE}eu_gpt-4o_prod", None, ", taken for gpt-4o by its deployment's name"),
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
    assert usual.basis.endswith("$1.25 input, for prompts up to 200,000 tokens")
    assert long.basis.endswith("$2.50 input, for prompts above 200,000 tokens")


@pytest.mark.usefixtures("some_prices")
def test_a_run_pays_the_tier_of_its_own_prompts() -> None:
    """Whatever length the price was looked up for; a grid over lengths is right in each cell."""
    found = listed(GOOGLE, "gemini-2.5-pro")
    assert found is not None
    assert found.at(250_000).at(1000) == found
    assert tp.Price(**json.loads(json.dumps(asdict(found)))) == found  # as it is saved
    assert hash(found) == hash(replace(found))
    base = {"concurrency": 1, "n": 5, "error_rate": 0.0, "billed_output_tokens": 500}
    points = [
        base | {"prompt_tokens_mean": prompt, "input_per_output": prompt / 100}
        for prompt in (1000.0, 250_000.0)
    ]
    rows = cost_rows(points, [found, found.batched()])
    usd = [row["usd_per_1m_output_tokens"] for row in rows]
    assert usd == [10 + 10 * 1.25, 10 + 2500 * 2.5, 5 + 10 * 0.625, 5 + 2500 * 1.25]
    ends = [str(row["basis"]).partition(", for prompts ")[2] for row in rows]
    assert ends == ["up to 200,000 tokens", "above 200,000 tokens"] * 2
    assert estimate(1, 250_000, 0, found) == pytest.approx(0.625)


@pytest.mark.usefixtures("some_prices")
def test_what_is_charged_for_beside_tokens_makes_no_price() -> None:
    assert listed(OPENAI, "searches") is None
    said = "openai searches is listed with a fee per 1,000 requests beside its tokens: $14.00"
    assert unlisted(OPENAI, "searches") == said
    assert unlisted(OPENAI, "gpt-4o") == unlisted(OPENAI, "gpt-5-maxi") == ""
    found = listed(OPENAI, "writes")
    assert found is not None
    assert found.source.endswith(", cache writes priced as other input")


@pytest.mark.usefixtures("some_prices")
@pytest.mark.parametrize(
    ("hour", "output", "said"),
    [
        (0, 1.0, "outside of 01:00 to 04:30 and 06:00 to 10:30 UTC"),
        (4, 2.0, "from 01:00 to 04:30 UTC"),
        (6, 3.0, "from 06:00 to 10:30 UTC"),
    ],
)
def test_a_price_of_some_hours_says_of_which(
    hour: int, output: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 11, 9, hour, 15, tzinfo=tz)

    monkeypatch.setattr(prices, "datetime", Clock)
    found = listed(OPENAI, "by-the-clock")
    assert found is not None
    assert found.output == output
    assert found.source == f"genai-prices 9.9, data of 2026-11-09, {said}"


@pytest.mark.parametrize(
    ("url", "model", "prompt"),
    [
        (OPENAI, "gpt-5", 150_000),
        ("https://api.anthropic.com/v1", "claude-sonnet-4-5", 150_000),
        ("https://api.anthropic.com/v1", "claude-sonnet-4-5", 250_000),
        (GOOGLE, "gemini-2.5-pro", 250_000),
        (ROUTER, "perplexity/sonar-deep-research", 150_000),  # reasoning has a price of its own
    ],
)
def test_a_run_costs_what_the_package_itself_bills(url: str, model: str, prompt: int) -> None:
    """40 % of the input is cached, a quarter of the output reasoned; a fifth request breaks off
    after 400 of 1,000 tokens, without usage, and is billed for these.
    """
    from genai_prices import Usage, calc_price

    usage = {"prompt_tokens": prompt, "cached_tokens": 2 * prompt // 5, "reasoning_tokens": 250}
    stamps = [100.0 + 0.5 * i for i in range(1000)]
    samples = [
        Sample(f"{i}", i, 4, sent_s=0.1 * i, token_ms=stamps, output_tokens=1000, **usage)
        for i in range(4)
    ]
    broken = {"token_ms": stamps[:400], "ended_ms": 300.0, "status": "disconnected"}
    samples.append(Sample("4", 0, 4, sent_s=0.1, **broken))
    run = Run(samples, [Window(4, 0.0, 1.0)], {})
    cost = run.cost(listed(url, model)).iloc[0]
    billed = sum(
        calc_price(
            Usage(
                input_tokens=prompt, cache_read_tokens=2 * prompt // 5, output_tokens=output,
                output_reasoning_tokens=output // 4,
            ),
            model, provider_api_url=url,
        ).total_price
        for output in (1000, 1000, 1000, 1000, 400)
    )  # fmt: skip
    assert 4 * cost["usd_per_request"] == pytest.approx(float(billed), rel=1e-9)
    assert round(4 * cost["usd_per_request"], 2) == round(float(billed), 2) > 0.5


@pytest.mark.usefixtures("some_prices")
def test_the_batch_tier_of_an_api_that_has_one() -> None:
    found = tp.Price.listed(OPENAI, "gpt-4o", batched=True)
    assert found is not None
    assert (found.output, found.input, found.cached_input) == (5.0, 1.25, 1.25)
    assert found.name == "openai gpt-4o (batch)"
    assert found.source == "genai-prices 9.9, data of 2026-11-09, batch tier"
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
        assert re.search(r", data of 20\d\d-\d\d-\d\d", found.source)
        assert found.date == "", "nobody knows when this price was set"


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
