"""Training: the loop, and the parts it is put together from.

`train` trains a model on a task; `evaluate` and `predict` use it, and `majority_accuracy` is what to compare an
accuracy with.  The optimizers (`Adam`, `RMSprop`, `SGD`), the learning-rate schedules (`Constant`, `Step`,
`Exponential`, `Cosine`, `WarmUp`, `Piecewise`) and `Dropout` are its settings; `Engine` is what computes losses and
gradients, for loops of one's own.
"""

from gatescope.training.arrays import Data, as_data
from gatescope.training.clipping import Clip
from gatescope.training.dropout import Dropout, masks
from gatescope.training.engine import Engine
from gatescope.training.evaluation import evaluate, majority_accuracy, predict
from gatescope.training.optimizers import SGD, Adam, Optimizer, RMSprop
from gatescope.training.schedules import Constant, Cosine, Exponential, Piecewise, Step, WarmUp
from gatescope.training.score import Score

__all__ = [
    "SGD",
    "Adam",
    "Clip",
    "Constant",
    "Cosine",
    "Data",
    "Dropout",
    "Engine",
    "Exponential",
    "Optimizer",
    "Piecewise",
    "RMSprop",
    "Score",
    "Step",
    "WarmUp",
    "as_data",
    "evaluate",
    "majority_accuracy",
    "masks",
    "predict",
]
