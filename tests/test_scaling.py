"""The fitted law: it finds the law that made the points, and predicts what was not measured."""

from math import inf, sqrt
from typing import Any

import pytest

import tpwidgets as tp
from tpwidgets.metrics.scaling import fit
from tpwidgets.simulator.profiles import PROFILES
from tpwidgets.simulator.virtual import closed_loop

LEVELS = (1, 2, 4, 8, 16, 32, 64)


def point(concurrency: int, tps: float, width: float = 0.03) -> dict[str, Any]:
    return {
        "concurrency": concurrency, "rate": None, "ttft_p50_ms": 50.0, "output_tps": tps,
        "output_tps_lo": tps * (1 - width), "output_tps_hi": tps * (1 + width),
    }  # fmt: skip


def law(n: float, alone: float, serial: float, crosstalk: float) -> float:
    return alone * n / (1 + serial * (n - 1) + crosstalk * n * (n - 1))


@pytest.mark.quick
@pytest.mark.parametrize(("serial", "crosstalk"), [(0.0, 0.0), (0.05, 0.0), (0.02, 0.0005)])
def test_it_finds_the_law_behind_the_points(serial: float, crosstalk: float) -> None:
    found = fit(point(n, law(n, 40, serial, crosstalk)) for n in LEVELS)
    assert found.alone == pytest.approx(40)
    assert found.serial == pytest.approx(serial, abs=1e-9)
    assert found.crosstalk == pytest.approx(crosstalk, abs=1e-9)
    value, lo, hi = found.at(24)
    assert value == pytest.approx(law(24, 40, serial, crosstalk))
    assert lo < value < hi
    at, most = found.peak
    if crosstalk:
        assert at == pytest.approx(sqrt((1 - serial) / crosstalk))
        assert most == pytest.approx(law(at, 40, serial, crosstalk))
    elif serial:
        assert (at, most) == (inf, pytest.approx(40 / serial))
        assert found.knee == pytest.approx(1 / serial)


@pytest.mark.quick
def test_chance_is_within_the_interval() -> None:
    """Points 3 % off either way: the law that made them lies inside, and wider further out."""
    pairs = zip(LEVELS, (1.03, 0.97, 1.03, 0.97, 1.03, 0.97, 1.03), strict=True)
    found = fit(point(n, off * law(n, 40, 0.03, 0.0001)) for n, off in pairs)
    width = {}
    for n in (3, 24, 128):
        value, lo, hi = found.at(n)
        assert lo < law(n, 40, 0.03, 0.0001) < hi
        width[n] = (hi - lo) / value
    assert width[24] < width[128]
    curve = found.curve()
    ends = {p["part"]: p["concurrency"] for p in curve}
    assert ends == pytest.approx({"between": 64, "beyond": 128})
    assert curve[0]["concurrency"] == pytest.approx(1)
    assert all(p["fitted_lo"] < p["fitted"] < p["fitted_hi"] for p in curve)
    higher = fit(point(n, law(n, 40, 0.03, 0.0001)) for n in LEVELS[1:]).curve()
    assert {p["part"] for p in higher} == {"below", "between", "beyond"}


@pytest.mark.quick
def test_what_is_said() -> None:
    saturates = fit(point(n, law(n, 40, 0.05, 0.0)) for n in LEVELS)
    assert str(saturates).startswith(
        "Fitted law, not measured: 40 tokens/s alone, a knee near 20 concurrent; 697 (between "
    )
    falls = fit(point(n, law(n, 40, 0.02, 0.005)) for n in LEVELS)
    assert str(falls) == (
        "Fitted law, not measured: 40 tokens/s alone, a knee near 6 concurrent, "
        "a peak of about 258 tokens/s near 14."
    )


@pytest.mark.quick
def test_where_its_interval_is_too_wide_it_says_nothing() -> None:
    """Four points that no such law fits: between them it is a guess as much as beyond."""
    found = fit(point(n, tps) for n, tps in ((1, 40.0), (4, 190.0), (16, 480.0), (64, 1090.0)))
    silent = [p["concurrency"] for p in found.curve() if p["fitted"] is None]
    assert any(16 < n < 64 for n in silent)
    assert not found.says(128)
    assert str(found) == (
        f"Fitted law, not measured: {found.alone:.1f} tokens/s alone; it says nothing beyond 64."
    )
    some = fit(point(n, tps) for n, tps in ((1, 40), (2, 79), (4, 159), (8, 280), (16, 493)))
    drawn = max(p["concurrency"] for p in some.curve() if p["fitted"] is not None)
    assert 22 < drawn < 24
    assert str(some).endswith("it says nothing beyond 23.")  # as far as it is drawn, no further
    near = fit(point(n, law(n, 40, 0.03, 0.0001)) for n in (1, 4, 16, 64))
    assert near.says(128)  # the points' own intervals are all there is to doubt


@pytest.mark.quick
def test_too_little_is_no_law() -> None:
    some = [point(n, 40.0 * n) for n in (1, 2, 4)]
    said = "4 levels of concurrency or more; there are 3 at which the client was not the limit"
    with pytest.raises(tp.MeasurementError, match=said):
        fit([*some, some[0], point(8, 300.0) | {"client_limited": True}])
    with pytest.raises(tp.MeasurementError, match="amid a ramp nothing is steady"):
        fit([point(n, 40.0 * n) | {"ramp_from": 1.0, "ramp_to": 64.0} for n in LEVELS])
    with pytest.raises(tp.MeasurementError, match="a rate, throughput is what arrives"):
        fit([point(n, 40.0 * n) | {"rate": float(n)} for n in LEVELS])


@pytest.mark.quick
def test_a_level_at_which_requests_fail_is_no_point_of_the_law() -> None:
    levels = [point(n, law(n, 40, 0.03, 0.0001)) | {"error_rate": 0.01} for n in LEVELS]
    broken = [point(n, 40.0) | {"error_rate": 0.9} for n in (128, 256)]
    assert fit([*levels, *broken]).at(24) == fit(levels).at(24)
    with pytest.raises(tp.MeasurementError, match="there are 3 at which at most 1 % of requests"):
        fit([*levels[:3], *broken])


@pytest.mark.quick
def test_it_shows_what_it_found_and_no_arrays() -> None:
    shown = repr(fit(point(n, law(n, 40, 0.05, 0.0)) for n in LEVELS))
    assert shown.startswith("Scaling(alone=40.0")
    assert shown.endswith("lowest=1, highest=64, unit='tokens/s')")


@pytest.mark.parametrize("name", ["vllm-llama-70b", "laptop-8b", "gpt-4-api"])
def test_the_simulators_throughput_between_the_levels_is_predicted(name: str) -> None:
    def measured(users: int, seed: int) -> float:
        profile = PROFILES[name]
        return closed_loop(profile, users, output_tokens=32, seconds=20, seed=seed).output_tps

    found = fit(point(n, measured(n, 0)) for n in LEVELS)
    for users in (3, 6, 12, 24, 48):
        assert found.at(users)[0] == pytest.approx(measured(users, 1), rel=0.10), users
