"""The blocks on live models in the documents run where their frameworks are."""

import os
import warnings

import numpy as np
import pytest
from helpers.documents import python_blocks

import gatescope as gs

os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_blocks_of_live_models(framework):
    pytest.importorskip(framework)
    blocks = [
        block for block in python_blocks("docs/your-model.md") if f"import {framework}\n" in block.parsed
    ]
    assert blocks
    for block in blocks:
        block.namespace.update(np=np, gs=gs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Keras itself
            block.evaluate()
