"""The examples in the docstrings run, and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import gatescope

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(gatescope.__path__, "gatescope.")
    if ".gpu." not in module.name and not module.name.endswith("kernels.cuda")
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gatescope", *MODULES])
def test_examples(name):
    # By its full name: a package may have a function of the same name as the module.
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(module, name):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
