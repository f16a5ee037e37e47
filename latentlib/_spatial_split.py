"""A train/val/test split by equal-area blocks of the Earth: neighbouring cells never fall on both sides."""

import math

import numpy as np

EARTH_RADIUS_KM = 6371.0072  # authalic: the sphere with the area of the WGS 84 ellipsoid
STANDARD_PARALLEL = math.radians(30)  # of the cylindrical equal-area projection (as in EASE-Grid 2.0)


def cells(land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude (degrees) of the land cells' centres, row by row from 90° N and 180° W."""
    rows, columns = np.nonzero(land)
    return 90 - (rows + 0.5) * 180 / land.shape[0], (columns + 0.5) * 360 / land.shape[1] - 180


def equal_area_blocks(latitude: np.ndarray, longitude: np.ndarray, side_km: float = 500.0) -> np.ndarray:
    """Block number of each point: squares of `side_km` in x = R λ cos φ₀, y = R sin φ / cos φ₀, φ₀ = 30°.

    Equal area, not equal shape: a block is side_km wide and high at 30° only, flatter toward the equator, taller
    toward the poles. Args: degrees, shape (n,). Returns: int64 (n,), numbered from 0 in falling latitude.
    """
    x = EARTH_RADIUS_KM * np.radians(longitude) * math.cos(STANDARD_PARALLEL)
    y = EARTH_RADIUS_KM * np.sin(np.radians(latitude)) / math.cos(STANDARD_PARALLEL)
    rows, columns = np.floor(-y / side_km).astype(np.int64), np.floor(x / side_km).astype(np.int64)
    return np.unique((rows - rows.min()) * (np.ptp(columns) + 1) + columns - columns.min(), return_inverse=True)[1]


def split_blocks(block: np.ndarray, shares: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """Row numbers of each split: whole blocks in random order, cut where the counts of cells come nearest to `shares`.

    `shares` are relative. A count misses its share by less than one block. The order comes from numpy's frozen
    RandomState, so a seed means the same split in every version. Raises: ValueError if a split would be empty.
    """
    size = np.bincount(block)
    order = np.random.RandomState(seed).permutation(len(size))
    filled = np.concatenate([[0], np.cumsum(size[order])])
    targets = np.cumsum(list(shares.values())) / sum(shares.values()) * len(block)
    cuts = [0, *(int(np.abs(filled - target).argmin()) for target in targets)]
    parts = {name: order[a:b] for name, a, b in zip(shares, cuts, cuts[1:], strict=False)}
    if any(len(blocks) == 0 for blocks in parts.values()):
        raise ValueError(f"want more blocks than splits, got {len(size)} blocks for {len(shares)} splits")
    return {name: np.flatnonzero(np.isin(block, blocks)) for name, blocks in parts.items()}


def world_split(
    land: np.ndarray, split: str, shares: dict[str, float], seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """Rows of a split (`all`: every one) among the land cells, their place, area and block; sizes of all the parts."""
    latitude, longitude = cells(land)
    block = equal_area_blocks(latitude, longitude)
    parts = split_blocks(block, shares, seed)
    rows = np.arange(len(block)) if split == "all" else parts[split]
    columns = {"latitude": latitude, "longitude": longitude, "weights": np.cos(np.radians(latitude)), "block": block}
    return rows, {key: values[rows] for key, values in columns.items()}, "/".join(str(len(p)) for p in parts.values())
