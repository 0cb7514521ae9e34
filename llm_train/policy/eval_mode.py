"""A model looked at in evaluation mode, which it leaves as it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["evaluating"]


@contextmanager
def evaluating(model) -> Iterator[None]:
    """Switch a model to evaluation, without dropout, and back to what it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
