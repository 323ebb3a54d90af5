"""Type aliases of NumPy arrays that all packages use."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.int8]  # which of a few things each row is
Places = npt.NDArray[np.intp]  # positions in another array: chosen options, rows, folds, groups
Texts = npt.NDArray[np.object_]
