"""What is to be installed where an import fails."""

import pytest

from gatescope.integrations.packages import missing


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("absl", "absl-py"),
        ("absl.logging", "absl-py"),
        ("google.protobuf", "protobuf"),
        ("orbax.checkpoint", "orbax-checkpoint"),
        ("yaml", "PyYAML"),
        ("msgpack", "msgpack"),
    ],
)
def test_the_package_is_named_and_not_its_module(module, package):
    error = missing("Flax", "flax", ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert error.advice == f"pip install {package}"
    assert module in error.problem


def test_of_an_import_that_fails_otherwise_the_framework_is_named():
    error = missing("Haiku", "dm-haiku", ImportError("cannot import name 'x'"), otherwise=", or leave it")
    assert error.advice == "pip install dm-haiku, or leave it"
