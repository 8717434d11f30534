"""What weights can do for other programs: the methods that `Params`, `Bidirectional` and `Stack` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from gatescope.checks.arrays import Array


class Exported:
    """Weights that other programs take; each method is the function of its name."""

    # Calls a function of `gatescope.io`, which lies above this module: the package puts it in place.
    export: ClassVar[Callable[..., Any]]

    def to_torch(self) -> dict[str, Array]:
        """Return the weights as a ``state_dict`` of PyTorch's modules has them, as `gatescope.to_torch` does."""
        state: dict[str, Array] = Exported.export("to_torch", self)
        return state

    def to_keras(self) -> list[Array]:
        """Return the weights as ``set_weights`` of a Keras 3 model takes them, as `gatescope.to_keras` does."""
        weights: list[Array] = Exported.export("to_keras", self)
        return weights

    def to_flax(self) -> dict[str, Any]:
        """Return the weights as a tree of parameters of Flax linen, as `gatescope.to_flax` does."""
        tree: dict[str, Any] = Exported.export("to_flax", self)
        return tree

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the weights as one ONNX file, as ``gatescope.save_weights("model.onnx", model)`` does."""
        Exported.export("save_onnx", path, self)
