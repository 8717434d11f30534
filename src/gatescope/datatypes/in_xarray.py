"""Results as Datasets and DataTrees of xarray, imported when a result is given to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatescope.datatypes.labelled import Labelled, labelled
from gatescope.datatypes.result import Result

if TYPE_CHECKING:
    import xarray


def in_xarray(result: Result) -> xarray.Dataset | xarray.DataTree:
    """Return a result as `Exchanged.to_xarray` says."""
    import xarray

    parts = labelled(result)
    own = _dataset(parts)
    if not parts.children:
        return own
    groups: dict[str, Any] = {"/": own}
    for name, child in parts.children.items():
        inner = in_xarray(child)
        trees = (
            {"/": inner}
            if isinstance(inner, xarray.Dataset)
            else {node.path: node.to_dataset(inherit=False) for node in inner.subtree}
        )
        groups |= {f"/{name}{path}".rstrip("/"): dataset for path, dataset in trees.items()}
    return xarray.DataTree.from_dict(groups)


def _dataset(parts: Labelled) -> xarray.Dataset:
    import xarray

    return xarray.Dataset(
        {name: (each.dims, each.values, each.attributes) for name, each in parts.variables.items()},
        {name: (each.dims, each.values, each.attributes) for name, each in parts.coordinates.items()},
        parts.attributes,
    )
