"""The error of a framework that cannot be imported: it names the package that is missing, of the framework or below."""

from __future__ import annotations

from gatescope.errors import MissingPackageError

# Packages that have another name than the module that Python misses.
_PACKAGES = {
    "absl": "absl-py",
    "google": "protobuf",
    "haiku": "dm-haiku",
    "orbax": "orbax-checkpoint",
    "yaml": "PyYAML",
}
_BACKENDS = ("tensorflow", "jax", "torch")  # that Keras may compute with


def missing(what: str, package: str, error: ImportError, *, otherwise: str = "") -> MissingPackageError:
    """Return the error that says what cannot be imported, and what to install: the package, or what it needs itself.

    Examples
    --------
    >>> from gatescope.integrations.packages import missing
    >>> print(missing("Keras", "keras", ModuleNotFoundError("No module named 'jax'", name="jax")))
    Keras cannot be imported (No module named 'jax'); pip install jax, or name another backend with KERAS_BACKEND
    """
    absent = (error.name if isinstance(error, ModuleNotFoundError) else None) or package
    absent = absent.partition(".")[0]
    absent = _PACKAGES.get(absent, absent)
    other = (
        ", or name another backend with KERAS_BACKEND" if package == "keras" and absent in _BACKENDS else ""
    )
    return MissingPackageError(
        f"{what} cannot be imported ({error})", advice=f"pip install {absent}{other}{otherwise}"
    )
