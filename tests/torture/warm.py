"""What takes seconds once in a process, done when this is imported: by the server that children are forked from."""

import io

import torch
import torch._dynamo  # which the first optimiser of a process imports

from onecycle.plots import Figure

torch.set_num_threads(1)
_figure = Figure(2, 2, "fonts")
_figure.savefig(io.BytesIO(), format="png", dpi=20)
