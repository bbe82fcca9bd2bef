"""Use cases as data: whole, sourced, changeable within bounds, and measurable as they are."""

import re

import pytest

import tpwidgets as tp
from tpwidgets.measuring.api import SETTINGS
from tpwidgets.use_cases.presets import ALONE, CHATS, DAY, JOB, USE_CASES
from tpwidgets.words import COLUMNS
from tpwidgets.workload.loads import Load
from tpwidgets.workload.prompts import Workload

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("case", USE_CASES.values(), ids=USE_CASES)
def test_a_use_case_is_whole(case):
    assert case.name == next(name for name, other in USE_CASES.items() if other is case)
    assert case.title
    assert re.fullmatch(r"[A-Z].*\.", case.description)
    assert case.wants in (JOB, CHATS, ALONE)
    names = [a.name for a in case.assumptions]
    assert len(names) == len(set(names))
    for a in case.assumptions:
        assert a.low <= a.value <= a.high
        assert a.label
        assert a.step > 0
        assert a.source  # "chosen", or where it is from
        assert a.part != "limit" or a.name in COLUMNS
    settings = case.settings()
    assert settings.keys() <= set(SETTINGS)
    lengths = ("prompt_tokens", "output_tokens", "shared_prefix_tokens")
    Workload.of(**{name: settings[name] for name in lengths})
    names = ("concurrency", "seconds", "precision")
    load = Load.of(**{name: settings[name] for name in names if name in settings})
    assert load.adaptive


def test_the_six_are_there():
    assert [case.wants for case in USE_CASES.values()] == [JOB, JOB, CHATS, JOB, ALONE, JOB]
    assert tp.use_case("support-chatbot") is USE_CASES["support-chatbot"]
    with pytest.raises(tp.SettingsError, match="'chatbot' is not known: use one of campaign-va"):
        tp.use_case("chatbot")
    assert len(DAY) == 24


def test_words_become_tokens():
    chatbot = tp.use_case("support-chatbot")
    assert chatbot.prompt_tokens == round(1.3 * (400 + 600 + 150 + 25))
    assert chatbot.shared_prefix_tokens == round(1.3 * 400)
    assert chatbot.output_tokens == 130
    assert chatbot.limits == {"ttft_p95_ms": 1000, "tpot_p95_ms": 100}
    editorial = tp.use_case("editorial-localisation")
    assert editorial.output_tokens == round(1.85 * 800)
    assert editorial.volume == 40 * 6


def test_assumptions_change_what_they_count_towards():
    before = tp.use_case("editorial-localisation")
    after = before.with_assumptions(languages=2, article_words=400, tokens_per_word=1.5)
    assert after.volume == 80
    assert after.prompt_tokens == 1.5 * (500 + 400)
    assert after["languages"] == 2
    assert before.volume == 240
    assert tp.use_case("support-chatbot").with_assumptions(ttft_p95_ms=500).limits == {
        "ttft_p95_ms": 500,
        "tpot_p95_ms": 100,
    }


@pytest.mark.parametrize("value", [0, 101, float("nan"), "7", True])
def test_a_value_out_of_range_is_refused(value):
    with pytest.raises(tp.SettingsError, match="languages must be from 1 to 100, not"):
        tp.use_case("editorial-localisation").with_assumptions(languages=value)


def test_an_unknown_assumption_is_refused():
    with pytest.raises(TypeError, match="Did you mean 'languages'"):
        tp.use_case("editorial-localisation").with_assumptions(language=2)
    with pytest.raises(tp.SettingsError, match=r"start_hour must be from 0 to 23\.75 o'clock"):
        tp.use_case("editorial-localisation").with_assumptions(start_hour=24)


def test_a_value_set_by_hand_has_no_source_but_the_hand():
    chatbot = tp.use_case("support-chatbot")
    changed = chatbot.with_assumptions(ttft_p95_ms=500).with_assumptions(ttft_p95_ms=700)
    (limit,) = (a for a in changed.assumptions if a.name == "ttft_p95_ms")
    assert limit.source.startswith("set by hand; the preset has 1,000: 1 s leaves the flow of")
    assert changed.with_assumptions(ttft_p95_ms=1000) == chatbot
