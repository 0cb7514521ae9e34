"""A context in which a model is in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["evaluating"]


@contextmanager
def evaluating(model) -> Iterator[None]:
    """Switch a model to evaluation mode, without dropout, and back to the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
