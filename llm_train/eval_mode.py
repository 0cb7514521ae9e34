"""A model looked at in evaluation mode, which it leaves as it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["evaluating"]


@contextmanager
def evaluating(model) -> Iterator[None]:
    """Switch a model to evaluation, without dropout, and back to what it was.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Yields
    ------
    None
        While it evaluates; the mode comes back after an error too.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
