"""SimCLR pretraining on histopathology patches, and features for yours.

    import histo_simclr

    encoder = histo_simclr.load_encoder("/data/run")     # or an exported file, or foreign weights
    features = encoder(patches)                          # (N, H, W, 3) uint8 → (N, D) float32

Besides `load_encoder`: `import_weights` (foreign weights → a checkpoint), `export` (a checkpoint →
the formats of others), `embed_slides` (slides → features in HDF5) and `inspect` (what is this, what
did it see). These names are stable; what lies below them is not.
"""

import importlib

_PUBLIC = {
    "Encoder": "encoder",
    "load_encoder": "encoder",
    "import_weights": "weights.importing",
    "export": "weights.exporting",
    "embed_slides": "embed.program",
    "inspect": "inspecting.report",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> object:
    # Importing the package costs nothing: parts of it run where JAX is not wanted.
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
