"""A smaller trace for studies that replay the same run many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvar.replaying import StepOrder
from kvar.traces import Trace

__all__ = ["Thinned"]


@dataclass(frozen=True)
class Thinned:
    """Every k-th prompt of a trace with all of its rollouts, so that no prompt loses its history.

    Attributes
    ----------
    trace : Trace
        What is left.
    one_in : int
        1 if that is everything.
    """

    trace: Trace
    one_in: int

    @classmethod
    def of(cls, trace: Trace, most: int, columns: Sequence[str] = ()) -> Thinned:
        """Leave prompts out until few rollouts are left.

        Parameters
        ----------
        trace : Trace
            A recorded run.
        most : int
            About how many rollouts may stay.
        columns : sequence of str
            Extra columns to keep.

        Returns
        -------
        Thinned
            In the order of steps, if any prompt was left out.
        """
        one_in = -(-len(trace) // most)
        if one_in == 1:
            return cls(trace, 1)
        rows = np.concatenate([s.rows[s.code % one_in == 0] for s in StepOrder.of(trace).stretches()])
        extras = {name: np.asarray(trace.extras[name][rows]) for name in columns}
        return cls(
            Trace(trace.step[rows], trace.prompt_id[rows], trace.rollout[rows], trace.reward[rows], extras), one_in
        )
