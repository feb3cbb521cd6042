"""Patches with their measurements as QuPath's GeoJSON: one drag onto the slide shows them."""

import json
import uuid
from collections.abc import Mapping, Sequence

import numpy as np

# Of the names of objects: equal patches keep their ids, so that QuPath replaces, not doubles them.
_NAMESPACE = uuid.UUID("b0f1a7c2-5c0e-5d3b-9a41-7d1f5e9c2a60")


def collection(
    slide: str,
    coords: np.ndarray,
    side: float,
    *,
    names: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    measurements: Mapping[str, np.ndarray],
) -> str:
    """A FeatureCollection of tile objects, one line each.

    Args:
      slide: its id.
      coords: (N, 2) left top corners in level-0 px.
      side: of a patch, in level-0 px.
      names, colors: N, of the class of each.
      measurements: name → (N,) numbers.
    """
    columns = {name: np.asarray(values, float).tolist() for name, values in measurements.items()}
    lines = []
    for row, (x, y) in enumerate(coords.tolist()):
        left, top, right, bottom = x, y, _whole(x + side), _whole(y + side)
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        feature = {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{slide}/{x}_{y}_{side:g}")),
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": "tile",
                "classification": {"name": names[row], "color": list(colors[row])},
                "isLocked": False,
                "measurements": {name: round(values[row], 6) for name, values in columns.items()},
            },
        }
        lines.append(json.dumps(feature, ensure_ascii=False, allow_nan=False))
    body = ",\n".join(lines)
    return f'{{"type": "FeatureCollection", "features": [\n{body}\n]}}\n'


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value
