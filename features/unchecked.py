"""Importing a library without the type checks that it would build into itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typeguard


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave functions as they are while modules are imported that mark them with ``@typeguard.typechecked``.

    typeguard parses and compiles a whole module again for every mark in it, which takes most of Feast's import. Its
    checks are meant for development; ``python -O`` leaves them out as well.
    """
    checked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = checked
