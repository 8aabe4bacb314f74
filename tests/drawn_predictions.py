"""What a net may have predicted, as hypothesis draws it."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from onecycle.evaluation import Labels, Logits


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Logits, Labels]:
    """Logits in steps of a half, as bfloat16 gives them, so that ties are common; some classes may have no images."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, classes = draw(st.integers(1, 60)), draw(st.integers(2, 12))
    logits = random.normal(0, draw(st.sampled_from([0.5, 3.0, 300.0])), (count, classes))
    labels = random.integers(0, draw(st.integers(1, classes)), count)
    return (np.round(logits * 2) / 2).astype(np.float32), labels.astype(np.int64)
