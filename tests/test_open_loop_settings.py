"""Arrivals, and the settings that ask for them."""

from itertools import islice, pairwise
from math import nan
from random import Random
from statistics import mean, stdev
from typing import Any

import pytest

from tpwidgets import cli
from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.errors import SettingsError
from tpwidgets.measuring.politeness import Outlook, restrained
from tpwidgets.workload.loads import Load
from tpwidgets.workload.prompts import Workload
from tpwidgets.workload.rates import OpenLoad, arrival_times, load_of

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("arrivals", "shape", "spread"),
    [("poisson", 1.0, 1.0), ("constant", 1.0, 0.0), ("gamma", 0.25, 2.0), ("gamma", 4.0, 0.5)],
)
def test_times_between_requests_have_their_mean_and_spread(
    arrivals: str, shape: float, spread: float
) -> None:
    times = [0.0, *islice(arrival_times(5.0, arrivals, shape, Random(1)), 20_000)]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 0
    assert mean(gaps) == pytest.approx(0.2, rel=0.05)
    assert stdev(gaps) / mean(gaps) == pytest.approx(spread, rel=0.05, abs=0.01)


def test_rates_as_people_write_them() -> None:
    for value in ("1-8", " 1 – 8 ", "1, 2,4 8", (1, 2, 4, 8), [1.0, 2, 4, 8, 8]):
        assert OpenLoad.of(value).rate == (1, 2, 4, 8)
    assert OpenLoad.of(2).rate == (2,)
    assert OpenLoad.of("0.5-3").rate == (0.5, 1, 2, 3)
    assert OpenLoad.of("3-3").rate == (3,)
    assert OpenLoad.of(1, "gamma").burstiness == 0.5
    assert OpenLoad.of(1, "gamma", 2).said == "open loop, gamma arrivals (burstiness 2)"
    assert OpenLoad.of(1).said == "open loop, Poisson arrivals"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("rate", {"rate": r}) for r in (0, -1, 1e5, nan, "8-1", "x", "", (), True, b"1")),
        ("rate", {"rate": "9" * 5000}),
        ("arrivals", {"rate": 1, "arrivals": "uniform"}),
        ("arrivals", {"arrivals": "constant"}),
        ("burstiness", {"burstiness": 0.5}),
        ("burstiness", {"rate": 1, "burstiness": 0.5}),
        ("burstiness", {"rate": 1, "arrivals": "gamma", "burstiness": 0}),
        ("concurrency and rate", {"rate": 1, "concurrency": 4}),
        ("requests", {"rate": 1, "requests": 0}),
        ("seconds", {"rate": 1, "seconds": -1}),
    ],
)  # fmt: skip
def test_what_is_no_open_loop_is_refused_by_name(name: str, given: dict[str, Any]) -> None:
    defaults = dict.fromkeys(("concurrency", "rate", "burstiness", "requests", "seconds"))
    with pytest.raises(SettingsError, match=f"^{name} ") as caught:
        load_of(**defaults | {"arrivals": "poisson"} | given)
    assert len(str(caught.value)) < 6000


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ([], Load.of("1-16")),
        (["--concurrency", "2"], Load.of(2)),
        (["--rate", "1,2"], OpenLoad.of((1, 2))),
        (["--rate", "1-4", "--arrivals", "gamma", "--burstiness", "0.3", "--requests", "9"],
         OpenLoad.of("1-4", "gamma", 0.3, 9)),
        (["--concurrency", "auto-64", "--precision", "5", "--limit", "ttft_p95_ms=500"],
         Load.of("auto-64", precision=0.05)),
    ],
)  # fmt: skip
def test_the_terminals_options_mean_the_same(
    options: list[str], meant: Load | OpenLoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("concurrency", "rate", "arrivals", "burstiness", "requests", "seconds", "precision")

    def measure(endpoint: str, **settings: Any) -> None:
        assert load_of(*map(settings.get, names)) == meant
        assert settings.get("limits", {}) == (
            {"ttft_p95_ms": 500.0} if "--limit" in options else {}
        )
        raise SettingsError("as meant.")

    monkeypatch.setattr("tpwidgets.measuring.api.measure", measure)
    assert cli.main(["measure", "http://127.0.0.1:9", *options]) == 1


def test_someone_elses_server_is_asked_for_first_and_never_gets_more_at_once_unasked() -> None:
    asked = Workload(100, 50)  # answers are reckoned with a second each
    sent = Outlook.of(asked, OpenLoad.of((2, 8), seconds=10))
    assert (sent.requests, sent.concurrency, sent.how) == (2 + 20 + 8 + 80, 8, "about")
    assert Outlook.of(asked, OpenLoad.of(33, requests=10)).big
    assert Outlook.of(asked, OpenLoad.of(0.25, requests=10)).requests == 1 + 10
    load, theirs = OpenLoad.of(8), Endpoint("https://api.example.com/v1")
    kept = restrained(theirs, load)
    assert kept.command(8.0)["most"] == 32
    assert kept.said == "open loop, Poisson arrivals, at most 32 at once without confirm=True"
    assert restrained(Endpoint("http://127.0.0.1:8000/v1"), load) is load
