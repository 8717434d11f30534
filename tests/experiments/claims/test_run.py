"""What `run_claims` refuses before anything runs."""

import pytest

from gatescope.errors import DtypeError
from gatescope.experiments.claims.run import run_claims


@pytest.mark.parametrize("name", ["scale", "study", "log", "after"])
def test_an_argument_of_another_type_is_named(name):
    with pytest.raises(DtypeError, match=f"{name} is an int; give a"):
        run_claims(["9a"], **{name: 3})
