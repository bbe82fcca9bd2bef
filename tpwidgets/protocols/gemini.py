"""Google's Gemini protocol."""

from typing import Any

from .base import WireProtocol
from .json_array import EventsOrArray
from .outcome import Outcome, Usage
from .values import chars, count


class Gemini(WireProtocol):
    """POST {base}/models/{model}:streamGenerateContent."""

    name = "gemini"
    title = "Gemini"
    path = "models/{model}:streamGenerateContent?alt=sse"
    prompt_at = "contents", 0, "parts", 0, "text"
    version = "/v1beta"
    key_header = "x-goog-api-key", "{key}"
    hosts = ("generativelanguage.googleapis.com",)
    parser = EventsOrArray  # an array comes where alt=sse got lost on its way

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:  # noqa: ARG002
        """Return a request for at most `output_tokens` tokens; the path has model and stream."""
        return {
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "generationConfig": {"maxOutputTokens": output_tokens},
        }

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome; raises if it isn't this protocol's."""
        candidates, usage = said.get("candidates"), said.get("usageMetadata")
        blocked = (said.get("promptFeedback") or {}).get("blockReason")
        if usage:
            _note(usage, outcome.usage)
        for candidate in candidates or ():
            before = len(outcome.token_ns)
            for part in (candidate.get("content") or {}).get("parts") or ():
                if written := chars(part):
                    outcome.token(stamp_ns, written, output=not part.get("thought"))
            # some models say STOP in each event, as usage stands in each
            amid = len(outcome.token_ns) > before
            outcome.finish(candidate.get("finishReason"), candidate.get("index"), amid=amid)
        if blocked:
            outcome.fail(f"the prompt was blocked: {blocked}")
        if not (candidates or usage or blocked):
            raise LookupError("neither candidates nor usage")


def _note(said: Any, known: Usage) -> None:
    """Take over the counts, which run along in each event; thoughts stand beside the answer.

    Counts of 0 are left out, as in all JSON that is made of protocol buffers: where a prompt's
    tokens are told and none is cached or thought, that says so.
    """
    answer, thoughts = count(said, "candidatesTokenCount"), count(said, "thoughtsTokenCount")
    known.prompt_tokens = count(said, "promptTokenCount") or known.prompt_tokens
    known.output_tokens = (answer or 0) + (thoughts or 0) or known.output_tokens
    known.cached_tokens = _counted(said, "cachedContentTokenCount", known.cached_tokens)
    known.reasoning_tokens = _counted(said, "thoughtsTokenCount", known.reasoning_tokens)


def _counted(said: Any, name: str, before: int | None) -> int | None:
    now = count(said, name)
    if now is not None or before is not None:
        return before if now is None else now
    return 0 if count(said, "promptTokenCount") and name not in said else None
