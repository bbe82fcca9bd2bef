"""Workload: prompts of an asked length, without a tokenizer, that no prefix cache can serve."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SettingsError
from .loads import whole

MAX_TOKENS = 4_000_000
MAX_BATCH = 2048
"""OpenAI's embeddings take no longer list."""

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
    batch: int = 1
    """Items per request: texts to embed, prompts in a list, or choices (``n``); each of them has
    `prompt_tokens` and `output_tokens`."""
    shared_prefix_tokens: int = 0
    """With so many tokens all prompts of a run begin alike, so that a prefix cache can serve them;
    0: they differ from the first word on."""

    @classmethod
    def of(
        cls,
        prompt_tokens: object,
        output_tokens: object,
        batch: object = 1,
        shared_prefix_tokens: object = 0,
    ) -> "Workload":
        """Check the lengths and make a Workload of them.

        Raises
        ------
        SettingsError
            Names the setting that is refused.
        """
        prompt_tokens = whole("prompt_tokens", prompt_tokens, 1, MAX_TOKENS)
        shared = whole("shared_prefix_tokens", shared_prefix_tokens, 0, MAX_TOKENS)
        if shared and shared >= prompt_tokens:
            raise SettingsError(
                f"shared_prefix_tokens ({shared}) must be below prompt_tokens ({prompt_tokens}): "
                "something has to differ."
            )
        output_tokens = whole("output_tokens", output_tokens, 1, MAX_TOKENS)
        return cls(prompt_tokens, output_tokens, whole("batch", batch, 1, MAX_BATCH), shared)

    @property
    def instructed(self) -> bool:
        """Whether the prompt ends in an instruction to write at length."""
        return self.prompt_tokens >= _INSTRUCTION_FROM


def prompt(words: int, rng: random.Random, *, instructed: bool, prefix: str = "") -> str:
    """Return a prompt of so many random words, the first of them `prefix` if there is one.

    Without a prefix the first words differ from prompt to prompt (7 bits each), and with them all
    that follows: a server that caches prefixes finds nothing beyond its chat template.
    """
    shared = prefix.count(" ") + 1 if prefix else 0
    own = " ".join(map(_BY_BYTE.__getitem__, rng.randbytes(max(1, words - shared))))
    text = f"{prefix} {own}" if prefix else own
    return text + _INSTRUCTION if instructed else text


def put(body: Any, at: Sequence[str | int], content: object) -> None:
    """Set the place in a request body that the keys and indices `at` lead to."""
    *path, last = at
    for key in path:
        body = body[key]
    body[last] = content


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
