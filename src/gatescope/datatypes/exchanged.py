"""What every result gives to other libraries: a Dataset of xarray, a DataFrame of pandas."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gatescope.errors import MissingPackageError

if TYPE_CHECKING:
    import pandas
    import xarray


class Exchanged:
    """Results that xarray and pandas take, by what their type declares beside ``_axes``."""

    # Names of axes whose letters mean something else than in `datatypes.vocabulary`.
    _dims: ClassVar[Mapping[str, str]] = {}
    # Labels of axes, by the name of an axis: values, or the name of an attribute that has them.
    _labels: ClassVar[Mapping[str, Any]] = {}
    # Arrays each part of which is a variable of its own: their axis, and the attribute that has the names.
    _by_name: ClassVar[Mapping[str, tuple[str, str]]] = {}
    # Axes of arrays that are made of others.
    _also: ClassVar[Mapping[str, str]] = {}
    # The array, or the result inside this one, whose values are the rows of a long table; "" where `table` says all.
    _rows: ClassVar[str] = ""

    def to_xarray(self) -> xarray.Dataset | xarray.DataTree:
        """Return the result in xarray: every array under its name, with the names of its axes.

        The axis ``time`` counts steps from 1, for inputs, gates and states after the step alike; the states before the
        first one are ``h_initial``, ``c_initial``.  Each gate and state of a trace is a variable, as ``ds.f``.
        Arrays are not copied: they are views of those of the result.  Of each the attributes say what it is
        (``long_name``), in which unit (``units``) and, of a gate, between which bounds (``valid_range``); those of the
        whole hold the result's numbers and texts, the version of gatescope and, as JSON, the provenance.  netCDF (with
        h5netcdf or netCDF4) and Zarr keep all of it.

        Returns
        -------
        xarray.Dataset, or xarray.DataTree
            A tree where there are results inside the result, a group each, such as the layers of a model.

        Raises
        ------
        MissingPackageError
            If xarray is not installed; the extra ``xarray`` has it.

        Examples
        --------
        >>> import importlib.util, numpy as np, gatescope as gs
        >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
        >>> if importlib.util.find_spec("xarray"):
        ...     ds = trace.to_xarray()
        ...     assert ds.f.dims == ("time", "batch", "unit") and np.shares_memory(ds.f, trace.gates)
        """
        _check_installed("to_xarray", "xarray")
        from gatescope.datatypes.in_xarray import in_xarray

        return in_xarray(self)  # type: ignore[arg-type]  # it is a Result, which this module cannot import

    def to_dataframe(self, of: str | None = None) -> pandas.DataFrame:
        """Return the result as a table of pandas.

        What is measured by step, lag, epoch or layer comes in long form, a row a value: first what it is of, as in
        ``lag``, ``batch``, then the arrays that have one value there.  Other results give what `table` returns, with
        numbers that are not rounded.

        Parameters
        ----------
        of : str, optional
            An array each of whose values is to be a row.  Default: the one that the result is about.

        Raises
        ------
        UnknownNameError
            If the result has no such array.
        MissingPackageError
            If pandas is not installed; the extra ``pandas`` has it.

        Examples
        --------
        >>> import importlib.util, numpy as np, gatescope as gs
        >>> params = gs.init("gru", input_size=1, hidden_size=4, seed=0)
        >>> flow = gs.gradient_flow(params, np.ones((9, 1), "float32"))
        >>> if importlib.util.find_spec("pandas"):
        ...     assert [*flow.to_dataframe()] == ["lag", "batch", "log_norm"]
        """
        _check_installed("to_dataframe", "pandas")
        from gatescope.datatypes.in_pandas import in_pandas

        return in_pandas(self, of)  # type: ignore[arg-type]  # as above


def _check_installed(method: str, package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"{method}() needs {package}, which cannot be imported ({error})",
            advice=f'pip install "gatescope[{package}]"',
        ) from error
