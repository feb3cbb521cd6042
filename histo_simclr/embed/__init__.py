"""Slides → features. `histo_simclr.embed(…)` is `program.embed`, and this package."""

import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    # Python binds a package's name in the one above it, where the function of that name would be.
    def __call__(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """See `program.embed`."""
        from histo_simclr.embed import program

        return program.embed(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
