"""Settings that are secret: used as they are, and written, shown and pickled as a mask."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

__all__ = ["Secret", "guarded", "masked", "masked_text", "secret_values"]

_WORDS = {
    *("secret", "secrets", "password", "passwords", "passwd", "pwd", "passphrase", "credential", "credentials"),
    *("auth", "authorization", "bearer", "cookie", "apikey", "jwt"),
}
# Keys that open something; others sort or name it.
_BEFORE_KEY = {
    *("api", "access", "private", "secret", "ssh", "auth", "encryption", "signing", "account", "license", "service"),
    *("storage", "shared", "master", "client", "wandb", "comet", "neptune", "openai", "hf"),
}
# Tokens of a tokenizer.
_BEFORE_TOKEN = {
    *("bos", "eos", "pad", "unk", "sep", "cls", "mask", "image", "video", "audio", "stop", "special", "start", "end"),
    *("next", "per", "boi", "eoi", "think"),
}
# What the issuers of tokens put in front of them, a web token, and the password in an address.
_ISSUED = re.compile(
    r"\b(?:hf_|sk-|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abp]-|AKIA|AIza|nvapi-|dapi)[A-Za-z0-9_\-]{8,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-.]+"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
    r"|(?<=[Bb]earer )[A-Za-z0-9_\-.=]{8,}"
)
# A name in running text, as in an error message, a flag or an address, and what may follow it.
_NAME = re.compile(r"[A-Za-z][\w\-]*")
_VALUE = re.compile(r"['\"]?\s*[:=]\s*['\"]?([^\s'\",;&)}\]<]+)")
_VALUE_OF_FLAG = re.compile(r"[\s=]+['\"]?([^\s'\"<]+)")
_SHORTEST = 8


class Secret(str):
    """Text that pickles and prints as its mask, so that no file and no message that shows it has it."""

    masked: str

    def __new__(cls, text: str, mask: str):
        """The text itself, for whoever logs in with it."""
        made = super().__new__(cls, text)
        made.masked = mask
        return made

    def __repr__(self) -> str:
        return repr(self.masked)

    def __reduce__(self):
        return str, (self.masked,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def masked(value: Any, name: str = "") -> Any:
    """Plain data with a mask in place of each secret."""
    return _replaced(value, name, lambda text, mask: mask)


def guarded(value: Any, name: str = "") -> Any:
    """Plain data whose secrets are a `Secret`; the very same object if there are none."""
    return value if masked(value, name) == value else _replaced(value, name, Secret)


def secret_values(settings: Mapping) -> dict[str, str]:
    """Each secret in settings, with its mask."""
    found: dict[str, str] = {}

    def note(text: str, mask: str) -> str:
        found[text] = mask
        return mask

    _replaced(settings, "", note)
    return found


def masked_text(text: str, known: Mapping[str, str] | None = None) -> str:
    """A message without secrets: known ones, those of the environment, and what looks like one."""
    for secret, mask in {**_of_environment(), **(known or {})}.items():
        text = text.replace(secret, mask)
    text = _ISSUED.sub("<secret>", text)
    parts, end = [], 0
    for name in _NAME.finditer(text):
        if name.start() >= end and is_secret_name(name[0]):
            follows = _VALUE_OF_FLAG if text.endswith("--", 0, name.start()) else _VALUE
            if value := follows.match(text, name.end()):
                parts += [text[end : value.start(1)], _mask(name[0])]
                end = value.end(1)
    return "".join([*parts, text[end:]])


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    for before, word in zip(["", *words], words, strict=False):
        opens = word in ("key", "keys") and before in _BEFORE_KEY
        if word in _WORDS or opens or (word == "token" and before not in _BEFORE_TOKEN):
            return True
    return False


def _mask(name: str) -> str:
    return f"<{name.upper()}>"


def _of_environment() -> dict[str, str]:
    return {
        value: _mask(name) for name, value in os.environ.items() if is_secret_name(name) and len(value) >= _SHORTEST
    }


def _replaced(value: Any, name: str, replace: Callable[[str, str], str]) -> Any:
    """The value with each secret text replaced by what `replace` makes of the text and its mask."""
    secret = is_secret_name(name)
    if isinstance(value, Mapping):
        return {key: _replaced(entry, name if secret else str(key), replace) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(entry, name, replace) for entry in value)
    if secret and isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        return replace(str(value), _mask(name))
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        if isinstance(found := json.loads(value), dict):
            # Settings may be JSON in a string.
            inside = _replaced(found, name, lambda text, mask: mask)
            return value if inside == found else replace(value, json.dumps(inside))
    text = masked_text(value)
    return value if text == value else replace(value, text)
