"""Prompt keys are stable, differ between prompts, and refuse objects without text."""

import pytest

from kvar.rollouts.prompt_ids import prompt_key


def test_keys_are_stable_and_of_64_bits():
    # Another hash would separate recorded histories from their prompts.
    assert prompt_key("12+7=") == -7035351165308369353
    assert prompt_key("ü\ud800") == prompt_key("ü\ud800")
    assert all(-(2**63) <= prompt_key(str(k)) < 2**63 for k in range(100))


def test_conversations_are_told_apart_by_their_content():
    first, second = ([{"role": "user", "content": text}] for text in ("a", "b"))
    assert prompt_key(first) != prompt_key(second)
    assert prompt_key(first) == prompt_key([{"content": "a", "role": "user"}])


def test_what_has_no_text_is_refused():
    with pytest.raises(TypeError, match="name prompts by a column of ids"):
        prompt_key([{"role": "user", "content": object()}])
