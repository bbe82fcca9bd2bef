"""How this server counts a prompt: a rule of its own, the same on every machine.

A word of up to 8 characters is a token, and every 4 characters beyond are another one.
"""

from typing import Any

from .http1 import Refusal
from .physics import BLOCK

_BOS = ["<bos>"]
_CONVERSATION = ["<bos>", "<system>", "<date>", "<end>", "<assistant>", "<start>", "<reply>"]
_MESSAGE = 4
"""Template tokens around each message; with `_CONVERSATION`, 11 for a single one."""


def of_text(text: str) -> list[str]:
    """Split a text into tokens."""
    tokens = []
    for word in text.split():
        tokens.append(word[:8])
        if len(word) > 8:
            tokens += [word[at : at + 4] for at in range(8, len(word), 4)]
    return tokens


def of_messages(messages: object) -> list[str]:
    """Apply the chat template.

    Raises
    ------
    Refusal
        If these are no chat messages.
    """
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages must be a non-empty list.", param="messages")
    tokens = list(_CONVERSATION)
    for message in messages:
        if not isinstance(message, dict):
            raise Refusal(400, "each message must be an object.", param="messages")
        tokens += [f"<{message.get('role')}>"] * _MESSAGE
        content = message.get("content") or ""
        parts = content if isinstance(content, list) else [{"text": content}]
        for part in parts:
            text = part.get("text", "") if isinstance(part, dict) else part
            if not isinstance(text, str):
                raise Refusal(400, "a message's content must be text.", param="messages")
            tokens += of_text(text)
    return tokens


def of_prompt(prompt: object) -> list[str]:
    """Return the tokens of a completion's prompt: a text, or token ids.

    Raises
    ------
    Refusal
        If it is anything else.
    """
    if isinstance(prompt, str):
        return _BOS + of_text(prompt)
    if isinstance(prompt, list) and prompt and all(isinstance(token, int) for token in prompt):
        return [str(token) for token in prompt]
    raise Refusal(400, "prompt must be one string or a list of token ids.", param="prompt")


def of_request(path: str, body: dict[str, Any]) -> list[str]:
    """Return the tokens of a request's prompt, which each path has elsewhere.

    Raises
    ------
    Refusal
        If it is none.
    """
    if path == "/v1/completions":
        return of_prompt(body.get("prompt"))
    if path == "/v1/responses":
        asked = body.get("input")
        said = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        return of_messages(said)
    return of_messages(body.get("messages"))


def of_texts(texts: object) -> list[list[str]]:
    """Return the tokens of each text to embed: one, or a list of them.

    Raises
    ------
    Refusal
        If there is none.
    """
    given = texts if isinstance(texts, list) else [texts]
    if not given:
        raise Refusal(400, "input must not be empty.", param="input")
    return [of_prompt(text) for text in given]


def blocks(tokens: list[str]) -> tuple[int, ...]:
    """Return the chained hashes of the full blocks."""
    chain, result = 0, []
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        chain = hash((chain, *tokens[end - BLOCK : end]))
        result.append(chain)
    return tuple(result)
