"""A smaller trace for studies that replay the same run many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvar.stretches import StepOrder
from kvar.traces import Trace

__all__ = ["Thinned"]


@dataclass(frozen=True)
class Thinned:
    """Every k-th prompt of a trace with all of its rollouts, so that no prompt loses its history.

    Attributes
    ----------
    order : StepOrder
        What is left.
    one_in : int
        1 if that is everything.
    """

    order: StepOrder
    one_in: int

    @classmethod
    def of(cls, order: StepOrder, most: int, columns: Sequence[str] = ()) -> Thinned:
        """Leave prompts out until few rollouts are left.

        Parameters
        ----------
        order : StepOrder
            A recorded run.
        most : int
            About how many rollouts may stay.
        columns : sequence of str
            Extra columns to keep.

        Returns
        -------
        Thinned
            In the row order of the trace.
        """
        trace = order.trace
        one_in = -(-len(trace) // most)
        if one_in == 1:
            return cls(order, 1)
        rows = order.rows_of(order.prompts[::one_in])
        extras = {name: np.asarray(trace.extras[name][rows]) for name in columns}
        left = Trace(trace.step[rows], trace.prompt_id[rows], trace.rollout[rows], trace.reward[rows], extras)
        return cls(StepOrder.of(left), one_in)
