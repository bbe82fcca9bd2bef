"""The OpenAI chat-completions and completions protocols, as the many servers that speak them do."""

from typing import Any, Generic, TypeVar

import msgspec

from .base import WireProtocol
from .outcome import Outcome, Usage
from .server_times import server_times_from_body
from .values import chars, count

C = TypeVar("C")


def usage_of(said: Any, prompt: str = "prompt", output: str = "completion") -> Usage | None:
    """Read a usage object; zeros in both counts mean that the server did not count.

    Details that are left out, or null, say nothing: vLLM does so unless it is told otherwise, and
    many servers know none. OpenAI itself sends zeros.
    """
    prompt_tokens, output_tokens = count(said, f"{prompt}_tokens"), count(said, f"{output}_tokens")
    if not prompt_tokens and not output_tokens:
        return None
    reasoning = count(said.get(f"{output}_tokens_details"), "reasoning_tokens")
    counted = (prompt_tokens or 0) + (output_tokens or 0)
    if reasoning and said.get("total_tokens") == counted + reasoning:
        # xAI counts reasoning beside the completion, not in it
        output_tokens = (output_tokens or 0) + reasoning
    return Usage(
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        cached_tokens=count(said.get(f"{prompt}_tokens_details"), "cached_tokens"),
        reasoning_tokens=reasoning,
    )


class _Choice(msgspec.Struct, kw_only=True, gc=False):
    finish_reason: None = None


class _Delta(msgspec.Struct, gc=False):
    content: str


class _ChatChoice(_Choice, kw_only=True, gc=False):
    delta: _Delta


class _TextChoice(_Choice, kw_only=True, gc=False):
    text: str


class _Plain(msgspec.Struct, Generic[C], gc=False):
    """An event that says nothing but a piece of the answer."""

    choices: tuple[C]
    error: None = None
    usage: None = None


_plain_chat = msgspec.json.Decoder(_Plain[_ChatChoice]).decode
_plain_completion = msgspec.json.Decoder(_Plain[_TextChoice]).decode


class _OpenAI(WireProtocol):
    """What both protocols share: everything but where prompt and text stand."""

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""
        return {
            "model": model,
            **self._prompt(prompt),
            "max_tokens": output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def forced(self, output_tokens: int) -> dict[str, Any]:
        """Return fields that have servers of one's own go on until so many tokens are made."""
        return {"ignore_eos": True, "min_tokens": output_tokens}

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome; raises if it isn't this protocol's."""
        choices, usage = said.get("choices"), said.get("usage")
        if usage:
            outcome.usage = usage_of(usage) or outcome.usage
        for choice in choices or ():
            before, index = len(outcome.token_ns), choice.get("index")
            self._judge(choice, stamp_ns, outcome)
            if index is not None:
                outcome.choices.add(index)
            amid = len(outcome.token_ns) > before
            outcome.finish(choice.get("finish_reason"), index, amid=amid)
        if choices is None and "usage" not in said and said and said.get("type") != "ping":
            raise LookupError("neither choices nor usage")
        if outcome.finish_reason or not choices:  # they stand at the end, if anywhere
            outcome.note(server_times_from_body(said))

    def _prompt(self, prompt: str) -> dict[str, Any]:
        raise NotImplementedError

    def _judge(self, choice: dict[str, Any], stamp_ns: int, outcome: Outcome) -> None:
        """Count a choice's chunk if it carries a token."""
        raise NotImplementedError


class Chat(_OpenAI):
    """POST {base}/chat/completions."""

    name = "chat"
    title = "OpenAI chat completions"
    path = "chat/completions"
    batch = "n"
    prompt_at: tuple[str | int, ...] = ("messages", 0, "content")

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer."""
        return _plain_chat(event).choices[0].delta.content

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": prompt}]}

    def _judge(self, choice: dict[str, Any], stamp_ns: int, outcome: Outcome) -> None:
        delta = choice.get("delta") or {}
        output = delta.get("content") or delta.get("tool_calls") or delta.get("refusal")
        if output:
            outcome.token(stamp_ns, len(output) if type(output) is str else chars(output))
        elif reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            outcome.token(stamp_ns, chars(reasoning), output=False)


class Completions(_OpenAI):
    """POST {base}/completions."""

    name = "completions"
    title = "OpenAI completions"
    path = "completions"
    batch = "prompts"
    prompt_at: tuple[str | int, ...] = ("prompt",)

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer."""
        return _plain_completion(event).choices[0].text

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"prompt": prompt}

    def _judge(self, choice: dict[str, Any], stamp_ns: int, outcome: Outcome) -> None:
        if text := choice.get("text"):
            outcome.token(stamp_ns, chars(text))
