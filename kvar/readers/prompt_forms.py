"""In which forms the prompts of a log come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from kvar.readers.prompt_text import first_date, is_conversation, tokens_of

__all__ = ["PromptForms", "lacks_media"]

_MEDIA = {"image", "image_url", "input_image", "video", "video_url", "input_video", "audio", "input_audio"}
_MARKS = ("<image", "<|image", "<|vision", "<video", "<audio", "[IMG]")
# What may stand beside the type of a part whose content was left out.
_NO_CONTENT = {"type", "index", "min_pixels", "max_pixels", "detail"}
# Prompts of each piece that are read, as long as there are not so many in all; one of each later piece.
_READ, _ENOUGH = 32, 1000
# Characters of texts whose ids are remembered; those of one piece come on top.
_MOST_KNOWN = 2**24


@dataclass
class PromptForms:
    """What the prompts of a log look like: their kind for all, what is in them for some of every piece."""

    n_texts: int = 0
    n_messages: int = 0
    padding: Counter = field(default_factory=Counter)  # Tokens that stand twice or more at an end of a list of tokens
    n_read: int = 0
    n_dated: int = 0  # Those read that have a date
    n_without_media: int = 0  # Those read with a place for an image, a film or a sound that is not there
    known: dict[str, int] = field(default_factory=dict)  # Ids of texts that were looked at
    _n_known: int = 0
    _left: int = 0

    def begin_piece(self) -> None:
        """Read some prompts again."""
        self._left = _READ if self.n_read < _ENOUGH else 1
        if self._n_known > _MOST_KNOWN:
            self._n_known = 0
            self.known.clear()

    def add_texts(self, distinct: Iterable[str], new: Sequence[str]) -> None:
        """Look at the different texts of a piece, of which some are new."""
        self._n_known += sum(map(len, new))
        for text in new:
            self._count(text)
        for text in islice(distinct, self._left):
            self._read(text)

    def add(self, prompt) -> None:
        """Look at a prompt."""
        self._count(prompt)
        if self._left > 0 and isinstance(prompt, (str, list, dict)):
            self._left -= 1
            self._read(prompt)

    def _count(self, prompt) -> None:
        """Count a prompt by its kind."""
        opens = prompt[:1] in ("[", "{") if isinstance(prompt, str) else isinstance(prompt, (list, dict))
        if opens and (tokens := tokens_of(prompt)) is not None:
            ends = ((tokens[0], tokens[1]), (tokens[-1], tokens[-2])) if len(tokens) > 2 else ()
            self.padding.update({one for one, next_one in ends if one == next_one})
        elif opens and is_conversation(prompt):
            self.n_messages += 1
        elif isinstance(prompt, str):
            self.n_texts += 1

    def _read(self, prompt) -> None:
        """Look for dates and missing media in a prompt."""
        self.n_read += 1
        self.n_dated += first_date(prompt) is not None
        self.n_without_media += lacks_media(prompt)


def lacks_media(prompt) -> bool:
    """Whether a prompt has a place for an image, a film or a sound that is not there."""
    if isinstance(prompt, str):
        return any(mark in prompt for mark in _MARKS) or (
            is_conversation(prompt) and any(f'"type": "{kind}"}}' in prompt for kind in _MEDIA)
        )
    if isinstance(prompt, list):
        return any(lacks_media(part) for part in prompt if isinstance(part, (list, dict)))
    if not isinstance(prompt, dict):
        return False
    if prompt.get("type") in _MEDIA and not any(
        value is not None for name, value in prompt.items() if name not in _NO_CONTENT
    ):
        return True
    return any(
        lacks_media(value) for name, value in prompt.items() if isinstance(value, (list, dict)) or name == "content"
    )
