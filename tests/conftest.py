"""Puts this folder on the path, so that tests in sub-folders find `naive` (the oracle) and `cases` too.

And compiles fewer kernels: a register tile's rows depend on how many sequences there are, so that every batch size in
the tests would be a kernel of its own, seconds each.  No bit depends on them.  The slow tests take them as they are.
"""

import pytest

from gatescope.kernels import layout


@pytest.fixture(autouse=True, scope="session")
def few_tiles(request):
    if request.config.option.markexpr != "not slow":
        yield
        return
    real = layout._rows
    layout._rows = lambda most, rows: min(2, real(most, rows))
    yield
    layout._rows = real
