"""Workload: prompts of an asked length, without a tokenizer, that no prefix cache can serve."""

import random
from dataclasses import dataclass

from .errors import SettingsError
from .loads import whole

MAX_TOKENS = 4_000_000

# Common words that the usual BPE vocabularies hold as one token with its leading space, so that a
# prompt's length follows from its number of words; the server's own count settles the rest.
_WORDS = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work number night
point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law
car city name team minute idea kid body back parent face others level office door health person
art war history party result change morning reason research girl guy moment air teacher force
foot boy age policy music market sense nation plan college interest death effect use class
control field role effort rate heart drug show leader light voice wife police mind price report
decision son view town road arm value building action season society tax director position
player record paper space ground form event official matter center couple site project activity
star table need court oil cost industry figure street image phone data picture practice piece
land product doctor wall patient worker news test movie north love support
"""
WORDS = tuple(_WORDS.split())
_BY_BYTE = [WORDS[byte % len(WORDS)] for byte in range(256)]

_INSTRUCTION = "\n\nGo on with this list of words for as long as you can."
_INSTRUCTION_FROM = 48
"""Prompts shorter than this (tokens) carry no instruction: it would be most of the prompt."""


@dataclass(frozen=True)
class Workload:
    """What each request asks for.

    Attributes
    ----------
    prompt_tokens : int
        Prompt length as the server counts it, chat template included.
    output_tokens : int
        Tokens asked for; where the server can be told to, exactly so many are made.
    """

    prompt_tokens: int = 256
    output_tokens: int = 64

    @classmethod
    def of(cls, prompt_tokens: object, output_tokens: object) -> "Workload":
        """Check the lengths and make a Workload of them.

        Raises
        ------
        SettingsError
            Names the length that is refused.
        """
        return cls(
            whole("prompt_tokens", prompt_tokens, 1, MAX_TOKENS),
            whole("output_tokens", output_tokens, 1, MAX_TOKENS),
        )

    @property
    def instructed(self) -> bool:
        """Whether the prompt ends in an instruction to write at length."""
        return self.prompt_tokens >= _INSTRUCTION_FROM


def prompt(words: int, rng: random.Random, *, instructed: bool) -> str:
    """Return a prompt of so many random words.

    The first words differ from prompt to prompt (7 bits each), and with them the whole prefix: a
    server that caches prefixes finds nothing beyond its chat template.
    """
    text = " ".join(map(_BY_BYTE.__getitem__, rng.randbytes(max(1, words))))
    return text + _INSTRUCTION if instructed else text


@dataclass(frozen=True)
class Calibration:
    """How the server counts our prompts: ``tokens = offset + slope * words``.

    Without a count by the server (`counted` is False) a word is taken for a token.
    """

    slope: float = 1.0
    offset: float = 0.0
    counted: bool = False

    @classmethod
    def fit(cls, short: tuple[int, int], long: tuple[int, int]) -> "Calibration":
        """Fit the line through two probes, each ``(words, prompt tokens counted)``.

        Raises
        ------
        SettingsError
            If the counts do not rise with the words: the server does not count the prompt.
        """
        (w1, t1), (w2, t2) = short, long
        slope = (t2 - t1) / (w2 - w1)
        if slope <= 0:
            raise SettingsError(f"{w1} words were counted as {t1} tokens, {w2} as {t2}.")
        return cls(slope, t1 - slope * w1, counted=True)

    def words(self, tokens: int) -> int:
        """Return the number of words nearest to a prompt of `tokens` tokens, at least one."""
        return max(1, round((tokens - self.offset) / self.slope))

    def tokens(self, words: int) -> int:
        """Return the prompt tokens that the server will count for so many words."""
        return round(self.offset + self.slope * words)
