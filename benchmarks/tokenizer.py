"""A tokenizer that takes a word for a token, for tools that want one: nothing is fetched."""

import json
from pathlib import Path

_SPECIAL = ("[UNK]", "[BOS]", "[EOS]")
_SERVER = "time year people way day man thing life world school state house water money story fact"
"""What the truth server answers with."""


def make(folder: Path) -> Path:
    """Write a Hugging Face tokenizer into `folder`."""
    words = [*_SPECIAL, *_SERVER.split(), *(f"w{number}" for number in range(2000))]
    folder.mkdir(parents=True, exist_ok=True)
    special = {
        "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True,
    }  # fmt: skip
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": w, **special} for i, w in enumerate(_SPECIAL)],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": "[UNK]",
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 131072,
        "unk_token": "[UNK]",
        "bos_token": "[BOS]",
        "eos_token": "[EOS]",
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
