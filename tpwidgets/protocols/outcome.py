"""What one streamed answer said: the fold that every wire protocol fills."""

import json
from dataclasses import dataclass, field
from typing import Any

from ..samples import USED_UP
from .errors import error_message
from .server_times import ServerTimes

_SEVERAL = 1.1
"""From so many tokens a chunk on, chunks aren't taken for tokens."""


@dataclass(slots=True)
class Usage:
    """The server's own token counts."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning included."""
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(slots=True)
class Outcome(ServerTimes):
    """What a stream said, with the stamp (ns) of each chunk that counts."""

    token_ns: list[int] = field(default_factory=list)
    first_output_ns: int | None = None
    merged: int = 0
    """Token chunks that share their stamp, hence their read, with the token chunk before."""
    events: int = 0
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    finished_amid: bool = False
    """Whether the last reason to finish may not be the end: it came along with a token, and some
    servers say one with each. Only where it's a choice's first reason, and that not with the first
    token, it is none of those."""
    finished: set[Any] = field(default_factory=set)
    """The choices that said why they ended, by their index."""
    choices: set[Any] = field(default_factory=set)
    """The choices that told an index; of one alone, which isn't asked each time, it may miss."""
    error: str | None = None
    done: bool = False
    malformed: str | None = None
    chars: int = 0
    """Characters in all token chunks."""
    first_chars: int = 0
    """Characters in the first token chunk."""
    first_count: int | None = None
    """The server's running count of output tokens at the first token chunk, if it keeps one."""
    reasoning_chunks: int = 0
    items: int | None = None
    """How many items (embeddings, say) an answer holds that isn't streamed."""
    first_chunk_tokens: int = 1
    """Tokens that came with the first token chunk, or before it unseen; set by `close`."""

    def token(self, stamp_ns: int, chars: int, *, output: bool = True) -> None:
        """Count a chunk with content, a tool call or, where it's no `output`, reasoning."""
        stamps = self.token_ns
        if not stamps:
            self.first_chars = chars
            self.first_count = self.usage.output_tokens
        elif stamps[-1] == stamp_ns:  # by the stamp: one read may hold several HTTP chunks
            self.merged += 1
        stamps.append(stamp_ns)
        self.finish_reason = None  # where one of several choices ended, another goes on
        self.chars += chars
        if not output:
            self.reasoning_chunks += 1
        elif self.first_output_ns is None:
            self.first_output_ns = stamp_ns

    def finish(self, reason: Any, choice: Any = None, *, amid: bool = False) -> None:
        """Keep the server's word for why a choice ended, if it says one, `amid` a token or not."""
        if reason:
            self.finish_reason = str(reason)[:40]
            known = self.finished
            self.finished_amid = amid and (choice in known or len(self.token_ns) <= len(known) + 1)
            known.add(choice)

    def fail(self, said: Any) -> None:
        """Keep what an error in the stream says; the first one counts."""
        self.error = self.error or error_message(json.dumps(said).encode())

    @property
    def ended(self) -> bool:
        """Whether each choice that came said why it ended, be they fewer than were asked for."""
        return self.finish_reason is not None and len(self.finished) >= len(self.choices)

    @property
    def hidden_tokens(self) -> int:
        """How many output tokens were used up, all that there might be, and none was shown."""
        shown = self.token_ns or (self.finish_reason or "").lower() not in USED_UP
        return 0 if shown else self.usage.output_tokens or 0

    def close(self) -> None:
        """End the fold."""
        self.first_chunk_tokens = self._first_chunk_tokens()

    def _first_chunk_tokens(self) -> int:
        """Say how many tokens arrived with the first token chunk: TPOT is about the others.

        A running count, where the server sends one, is exact. Otherwise it's an estimate: where
        there are clearly more tokens than chunks, the first chunk's share of the text is taken
        for its share of the tokens, and else a chunk is a token. Reasoning that was counted and
        not streamed lies before the first chunk.
        """
        tokens, later = self.usage.output_tokens or 0, len(self.token_ns) - 1
        if later < 1 or not tokens:
            return 1
        if self.first_count and self.first_count < tokens:
            return self.first_count
        hidden = 0 if self.reasoning_chunks else self.usage.reasoning_tokens or 0
        if hidden > tokens:
            hidden = 0  # then it isn't part of them
        shown, first = tokens - hidden, 1
        # the token that ends an answer has no text and often no chunk: one too many says nothing
        if shown - 1 > _SEVERAL * (later + 1) and self.chars:
            first = round(shown * self.first_chars / self.chars)
            first = min(max(first, 1), shown - later)
        return min(hidden + first, tokens)
