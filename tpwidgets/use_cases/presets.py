"""Use cases: what is asked of an endpoint and wanted of it, each assumption with its source.

"Chosen" marks a number that no source gives. Lengths are in words, as people know them, and become
tokens by an assumption of its own.
"""

from dataclasses import dataclass, field, replace
from math import isfinite, prod
from numbers import Real
from typing import Any

from ..errors import SettingsError, refuse_unknown
from ..workload.loads import PRECISION, Load

JOB, CHATS, ALONE = "job", "chats", "alone"
"""What is wanted: all of it done soon, many served at once, or one served quickly."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """A number that an answer rests on, and what it may be changed to.

    Attributes
    ----------
    name, label, unit : str
        For code, for people, and what it is counted in.
    value, low, high, step : float
    source : str
        Where it is from.
    part : str
        What it counts towards: ``prompt``, ``shared`` (words that all prompts begin with) or
        ``output``, in words; ``volume``, whose product is how many requests there are; ``limit``,
        named by the column that it bounds; or "" for anything else.
    """

    name: str
    label: str
    value: float
    unit: str
    low: float
    high: float
    step: float
    source: str
    part: str = ""
    preset: tuple[float, str] | None = field(default=None, repr=False)
    """The value that it came with, and its source, once it is another."""

    def at(self, value: float) -> "Assumption":
        """Return it with a value set by hand: the preset's source says nothing of that."""
        preset = self.preset or (self.value, self.source)
        if value == preset[0]:
            return replace(self, value=value, source=preset[1], preset=None)
        source = f"set by hand; the preset has {preset[0]:,g}: {preset[1]}"
        return replace(self, value=value, source=source, preset=preset)


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """A use case: its workload, its load, its limits, and the numbers behind them.

    Attributes
    ----------
    name, title, description : str
        For code, for people, and in one sentence.
    wants : {"job", "chats", "alone"}
    concurrency : str or int
        The levels to walk, as `tpwidgets.measure` takes them. A job's begin at 4: how long it takes
        hangs on what many at once get, and a request alone takes longest to measure.
    assumptions : tuple of Assumption
    item, items : str
        What one request makes, and several of them.
    timeout_s : float
        How long a token may take: long prompts wait for each other.
    """

    name: str
    title: str
    description: str
    wants: str
    concurrency: str | int
    assumptions: tuple[Assumption, ...] = field(repr=False)
    item: str = "answer"
    items: str = "answers"
    timeout_s: float = 60.0

    def __getitem__(self, name: str) -> float:
        """Return an assumption's value.

        Raises
        ------
        KeyError
            If there is none of this name.
        """
        return self._values()[name]

    def get(self, name: str, default: float) -> float:
        """Return an assumption's value; `default` where there is none of this name."""
        return self._values().get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self._values()

    def _values(self) -> dict[str, float]:
        return {a.name: a.value for a in self.assumptions}

    def _part(self, *parts: str) -> list[float]:
        return [a.value for a in self.assumptions if a.part in parts]

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of a request."""
        return round(self["tokens_per_word"] * sum(self._part("prompt", "shared")))

    @property
    def shared_prefix_tokens(self) -> int:
        """Tokens that all prompts begin with, so that a prefix cache can serve them."""
        return round(self["tokens_per_word"] * sum(self._part("shared")))

    @property
    def output_tokens(self) -> int:
        """Output tokens of a request."""
        per_word = "output_tokens_per_word"
        each = self[per_word if per_word in self else "tokens_per_word"]
        return round(each * sum(self._part("output")))

    @property
    def volume(self) -> int:
        """How many requests a job has; 1 if it is none."""
        return round(prod(self._part("volume")))

    @property
    def limits(self) -> dict[str, float]:
        """What must be kept: column of `run.points` → its highest value, ms."""
        return {a.name: a.value for a in self.assumptions if a.part == "limit"}

    def settings(self) -> dict[str, Any]:
        """Return the keywords for `tpwidgets.measure`."""
        settings: dict[str, Any] = {
            "concurrency": self.concurrency,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "shared_prefix_tokens": self.shared_prefix_tokens,
            "timeout_s": self.timeout_s,
            # other loads are foretold from what requests take: none waits until users are in step
            "seconds": Load.MAX_SECONDS,
            "precision": PRECISION,
        }
        return settings | ({"limits": self.limits} if self.limits else {})

    def with_assumptions(self, **changes: float) -> "UseCase":
        """Return the use case with other values.

        Raises
        ------
        TypeError
            For an unknown name; the nearest known one is named.
        SettingsError
            For a value that is out of range.
        """
        refuse_unknown(
            [name for name in changes if name not in self], list(self._values()), self.name
        )
        return replace(
            self,
            assumptions=tuple(
                a.at(_within(a, changes[a.name])) if a.name in changes else a
                for a in self.assumptions
            ),
        )


def _within(a: Assumption, value: object) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
    if not number or not a.low <= value <= a.high:  # type: ignore[operator]
        unit = f" {a.unit}" if a.unit else ""
        raise SettingsError(
            f"{a.name} must be from {a.low:,g} to {a.high:,g}{unit}, not {value!r}."
        )
    return float(value)  # type: ignore[arg-type]


def use_case(name: str) -> UseCase:
    """Return one of the `USE_CASES`: ``tp.use_case("support-chatbot")``.

    Raises
    ------
    SettingsError
        If there is none of this name; the known ones are named.
    """
    if name not in USE_CASES:
        raise SettingsError(f"use case {name!r} is not known: use one of {', '.join(USE_CASES)}.")
    return USE_CASES[name]


_TOKENS_PER_WORD = Assumption(
    "tokens_per_word", "Tokens per word", 1.3, "", 1.0, 3.0, 0.05,
    "English: C. Wittmann's count over Wikipedia articles, 2025; OpenAI's rule of thumb is 0.75 "
    "words a token",
)  # fmt: skip
_TTFT = Assumption(
    "ttft_p95_ms", "TTFT p95 at most", 1000, "ms", 50, 10_000, 50,
    "1 s leaves the flow of thought uninterrupted: J. Nielsen, Usability Engineering, 1993",
    "limit",
)  # fmt: skip


def _words(
    name: str, label: str, value: float, high: float, part: str, source: str = "chosen"
) -> Assumption:
    return Assumption(name, label, value, "words", 1, high, 1, source, part)


def _hour(name: str, label: str, value: float, source: str = "chosen") -> Assumption:
    return Assumption(name, label, value, "o'clock", 0, 23.75, 0.25, source)


_CAMPAIGN = UseCase(
    name="campaign-variants",
    title="Campaign concepts and A/B variants",
    description="A briefing goes in, and one variant of a concept or an advertisement comes out, "
    "a thousand times.",
    wants=JOB,
    concurrency="4, 16, 64",
    item="variant",
    items="variants",
    timeout_s=600,
    assumptions=(
        Assumption(
            "variants", "Variants", 1000, "", 1, 100_000, 1,
            "the question: time and cost per 1,000", "volume",
        ),
        _words("guideline_words", "Brand guidelines, the same for all", 400, 20_000, "shared"),
        _words("briefing_words", "Briefing", 250, 20_000, "prompt"),
        _words(
            "variant_words", "A variant", 120, 4000, "output",
            "chosen: a headline, a short text and a call to action",
        ),
        _TOKENS_PER_WORD,
    ),
)  # fmt: skip

_EDITORIAL = UseCase(
    name="editorial-localisation",
    title="Editorial pipeline and localisation",
    description="Each article is rewritten in each of several languages.",
    wants=JOB,
    concurrency="4, 16, 64",
    item="translation",
    items="translations",
    timeout_s=600,
    assumptions=(
        Assumption("articles", "Articles", 40, "", 1, 100_000, 1, "chosen: a day's", "volume"),
        Assumption("languages", "Languages", 6, "", 1, 100, 1, "chosen", "volume"),
        _words("style_words", "Style guide, the same for all", 500, 20_000, "shared"),
        _words(
            "article_words", "An article", 800, 20_000, "prompt",
            "midsize newspapers average just over 800 words: The State of the News Media, as "
            "quoted by Google Answers 709596",
        ),
        _words("translated_words", "Its translation, in words of the original", 800, 20_000,
               "output", "chosen: as long as the article"),
        _TOKENS_PER_WORD,
        Assumption(
            "output_tokens_per_word", "Tokens per word of the original, translated", 1.85, "", 1.0,
            6.0, 0.05,
            "Spanish 1.75, German 1.86, French 1.94, Japanese 2.8 for what is one English word: "
            "C. Prokopp, bolddata.org, 2024",
        ),
        _hour("start_hour", "Begun at", 16),
        _hour("deadline_hour", "To be done by", 18),
    ),
)  # fmt: skip

_CHATBOT = UseCase(
    name="support-chatbot",
    title="Tier-1 support chatbot",
    description="Customers ask, read the answer while it comes, and ask again until the ticket is "
    "resolved or handed to a person.",
    wants=CHATS,
    concurrency="1, 4, 16, 64",
    item="answer",
    items="answers",
    assumptions=(
        Assumption("tickets_per_day", "Tickets a day", 5000, "", 1, 1_000_000, 1, "chosen"),
        Assumption(
            "busiest_pct", "Of them in the busiest hour", 10, "%", 4.2, 50, 0.1,
            "chosen: an even day has 4.2 %; the other hours are as busy as in offices, with a dip "
            "at noon",
        ),
        Assumption(
            "burstiness", "How independently they come", 1, "", 0.1, 10, 0.1,
            "chosen: 1 is people who don't know of each other (Poisson arrivals); below they come "
            "in bursts (gamma), above more evenly",
        ),
        Assumption("turns", "Questions per ticket", 4, "", 1, 50, 1, "chosen"),
        Assumption(
            "deflected_pct", "Tickets deflected: resolved without a person", 50, "%", 1, 100, 1,
            "the middle of the 40 to 60 % published for tier-1 support, mostly by vendors",
        ),
        _words("instruction_words", "Instructions, the same for all", 400, 20_000, "shared"),
        _words("passage_words", "Passages found for the question", 600, 20_000, "prompt"),
        _words("history_words", "The chat so far", 150, 20_000, "prompt",
               "chosen: half of four questions and answers"),
        _words("question_words", "A question", 25, 2000, "prompt"),
        _words("answer_words", "An answer", 100, 4000, "output"),
        _TOKENS_PER_WORD,
        Assumption(
            "reading_wpm", "People read", 238, "words per minute", 50, 1000, 1,
            "silent reading of English non-fiction: M. Brysbaert, Journal of Memory and Language "
            "109, 2019",
        ),
        Assumption(
            "typing_wpm", "People type", 52, "words per minute", 5, 200, 1,
            "mean of 168,000 volunteers: V. Dhakal et al., Observations on Typing from 136 Million "
            "Keystrokes, CHI 2018",
        ),
        _TTFT,
        Assumption(
            "tpot_p95_ms", "TPOT p95 at most", 100, "ms", 5, 1000, 5,
            "chosen: 10 tokens/s, twice as fast as people read", "limit",
        ),
    ),
)  # fmt: skip

_BI = UseCase(
    name="bi-insights",
    title="Insights over BI data",
    description="Tables of figures go in, and a written report comes out, for every unit of a "
    "company by the morning.",
    wants=JOB,
    concurrency="4, 16, 32",
    item="report",
    items="reports",
    timeout_s=600,
    assumptions=(
        Assumption("reports", "Reports", 400, "", 1, 100_000, 1, "chosen", "volume"),
        _words("instruction_words", "Instructions, the same for all", 500, 20_000,
               "shared"),
        _words("table_words", "Tables, in numbers and names", 2500, 100_000, "prompt",
               "chosen: 250 rows of 10 columns"),
        _words("report_words", "A report", 400, 10_000, "output", "chosen: about a page"),
        Assumption(
            "tokens_per_word", "Tokens per word or number", 2.0, "", 1.0, 6.0, 0.05,
            "chosen: numbers and separators take more tokens than the 1.3 of an English word",
        ),
        Assumption(
            "output_tokens_per_word", "Tokens per word of the report", 1.3, "", 1.0, 3.0, 0.05,
            _TOKENS_PER_WORD.source,
        ),
        _hour("start_hour", "Begun at", 2, "chosen: when the day's data are in"),
        _hour("deadline_hour", "To be done by", 6),
    ),
)  # fmt: skip

_PROTOTYPING = UseCase(
    name="prototyping",
    title="Prototyping",
    description="One person tries prompts, and waits for each answer.",
    wants=ALONE,
    concurrency=1,
    item="answer",
    items="answers",
    assumptions=(
        _words("prompt_words", "A prompt", 300, 20_000, "prompt"),
        _words("answer_words", "An answer", 200, 10_000, "output"),
        _TOKENS_PER_WORD,
        _TTFT,
        Assumption(
            "e2e_p95_ms", "E2E latency p95 at most", 10_000, "ms", 500, 120_000, 500,
            "10 s keep the attention on a task: J. Nielsen, Usability Engineering, 1993", "limit",
        ),
    ),
)  # fmt: skip

_COMPLIANCE = UseCase(
    name="compliance-checks",
    title="Compliance checks of contracts and briefings",
    description="Whole contracts are checked against a list of rules overnight.",
    wants=JOB,
    concurrency="4, 16",
    item="contract",
    items="contracts",
    timeout_s=600,
    assumptions=(
        Assumption("contracts", "Contracts", 1200, "", 1, 100_000, 1, "chosen", "volume"),
        _words("rule_words", "Rules, the same for all", 1000, 50_000, "shared"),
        _words("contract_words", "A contract", 8000, 200_000, "prompt",
               "chosen: 16 pages of 500 words"),
        _words("finding_words", "Findings", 300, 10_000, "output"),
        _TOKENS_PER_WORD,
        _hour("start_hour", "Begun at", 20, "chosen: when offices are empty"),
        _hour("deadline_hour", "To be done by", 7, "the question: before people are back"),
    ),
)  # fmt: skip

DAY = (1, 1, 1, 1, 1, 1, 2, 4, 7, 9, 10, 9, 7, 7, 8, 8, 7, 5, 3, 2, 2, 2, 1, 1)
"""What comes in each hour of a day, in %: chosen, office hours with a dip at noon."""

USE_CASES: dict[str, UseCase] = {
    case.name: case for case in (_CAMPAIGN, _EDITORIAL, _CHATBOT, _BI, _PROTOTYPING, _COMPLIANCE)
}
