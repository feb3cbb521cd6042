"""What XLA compiles while something runs, by JAX's own events."""

from typing import Any

from jax import monitoring

COMPILED = "/jax/core/compile/backend_compile_duration"
ASKED = "/jax/compilation_cache/compile_requests_use_cache"
HIT = "/jax/compilation_cache/cache_hits"


class Compilations:
    """Counts, in all threads, while it is open as a context manager.

    Fields:
      count: programs compiled, or fetched from the persistent cache instead.
      asked, hits: times that this cache was asked, and had the program.
    """

    def __init__(self) -> None:
        self.count = self.asked = self.hits = 0

    def __enter__(self) -> "Compilations":
        monitoring.register_event_listener(self._happened)
        monitoring.register_event_duration_secs_listener(self._lasted)
        return self

    def __exit__(self, *_: object) -> None:
        monitoring.unregister_event_listener(self._happened)
        monitoring.unregister_event_duration_listener(self._lasted)

    @property
    def cache(self) -> str:
        """What the persistent cache did for all of them: "hit", "miss", or "off"."""
        if not self.asked:
            return "off"
        return "hit" if self.hits == self.asked else "miss"

    def _happened(self, event: str, **_: Any) -> None:
        self.asked += event == ASKED
        self.hits += event == HIT

    def _lasted(self, event: str, _: float, **__: Any) -> None:
        self.count += event == COMPILED
