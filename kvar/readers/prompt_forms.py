"""In which forms the prompts of a log come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from kvar.readers.prompt_text import first_date, is_conversation

__all__ = ["PromptForms"]

_MEDIA = {"image", "image_url", "input_image", "video", "video_url", "input_video", "audio", "input_audio"}
_MARKS = ("<image", "<|image", "<|vision", "<video", "<audio", "[IMG]")
# What may stand beside the type of a part whose content was left out.
_NO_CONTENT = {"type", "index", "min_pixels", "max_pixels", "detail"}


@dataclass
class PromptForms:
    """What the prompts of a log look like: each distinct text of a piece is looked at once."""

    n_texts: int = 0
    n_messages: int = 0
    n_tokens: int = 0
    n_dated: int = 0  # Texts and conversations with a date near the beginning
    media: set[int] = field(default_factory=set)  # Ids of prompts with an image, a film or a sound that was left out
    padding: Counter = field(default_factory=Counter)  # Tokens that stand twice or more at an end of a list of tokens

    def add(self, prompt, key: int) -> None:
        """Look at a prompt with some id."""
        if isinstance(prompt, str):
            self.n_texts += not is_conversation(prompt)
            self.n_messages += is_conversation(prompt)
            if any(mark in prompt for mark in _MARKS):
                self.media.add(key)
        elif isinstance(prompt, list) and prompt and isinstance(prompt[0], (int, float)):
            self.n_tokens += 1
            ends = ((prompt[0], prompt[1]), (prompt[-1], prompt[-2])) if len(prompt) > 2 else ()
            self.padding.update({one for one, next_one in ends if one == next_one})
            return
        elif isinstance(prompt, (list, dict)):
            self.n_messages += 1
            if _lacks_media(prompt):
                self.media.add(key)
        else:
            return
        self.n_dated += first_date(prompt) is not None


def _lacks_media(prompt) -> bool:
    if isinstance(prompt, list):
        return any(map(_lacks_media, prompt))
    if not isinstance(prompt, dict):
        return False
    if prompt.get("type") in _MEDIA and not any(
        value is not None for name, value in prompt.items() if name not in _NO_CONTENT
    ):
        return True
    return any(_lacks_media(value) for value in prompt.values() if isinstance(value, (list, dict)))
