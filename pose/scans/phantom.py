"""Phantom: a synthetic chest CT in Hounsfield units with its lung masks, for trying things out without a patient.

The anatomy is described by fields in millimetres that are negative inside a structure, on axes that follow the working
data: x grows with the columns towards the patient's left, y with the rows towards the back, z with the slices towards
the head. Everything is made for a reference field of view and scaled to the one asked for.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pose.cli import UserError
from pose.scans.volume import Volume

LEFT_LUNG = 1
RIGHT_LUNG = 2

FIELD_OF_VIEW_MM = 358.4
HEIGHT_MM = 273.0
SMALLEST_SHAPE = (32, 32, 3)

AIR_HU = -1000.0
FAT_HU = -95.0
MUSCLE_HU = 50.0
BLOOD_HU = 42.0
TRABECULAR_HU = 220.0
CORTICAL_HU = 700.0
LUNG_HU = -850.0
NOISE_HU = 20.0
LOWEST_HU = -1024


class _Anatomy:
    """What differs from patient to patient. Pairs are (left, right); lengths in millimetres of the reference chest."""

    def __init__(self, rng: np.random.Generator) -> None:
        size = rng.uniform(0.92, 1.04)
        self.centre = (rng.uniform(-4.0, 4.0), rng.uniform(-8.0, 0.0))
        self.fat = rng.uniform(6.0, 12.0)
        self.cage = (130.0 * size, 88.0 * size * rng.uniform(0.93, 1.04))
        self.half_width = self.cage[0] + 16.0 + self.fat
        self.half_depth = self.cage[1] + 14.0 + self.fat
        self.back = self.cage[1] - 88.0
        apex, dome, floor = rng.uniform(252.0, 262.0), rng.uniform(80.0, 100.0), rng.uniform(16.0, 24.0)
        self.apex = (apex, apex + rng.uniform(-5.0, 3.0))
        self.lung_width = (rng.uniform(0.93, 1.0), rng.uniform(0.96, 1.0))
        self.dome_top = (dome, dome + rng.uniform(4.0, 20.0))
        self.floor = (floor, floor + rng.uniform(-4.0, 4.0))
        self.heart_scale = rng.uniform(0.85, 1.18)
        self.heart_tilt = np.deg2rad(rng.uniform(25.0, 45.0))
        self.mediastinum = rng.uniform(-2.0, 5.0)
        self.rib_phase = rng.uniform(0.0, 23.0)
        self.carina = rng.uniform(158.0, 172.0)
        self.gas = rng.uniform(8.0, 20.0)


def _rise(value: float, start: float, stop: float) -> float:
    """0 below ``start``, 1 above ``stop``, smooth between."""
    return float(0.5 - 0.5 * np.cos(np.pi * np.clip((value - start) / (stop - start), 0.0, 1.0)))


def _intersect(first: np.ndarray, second: np.ndarray, rounding: float = 6.0) -> np.ndarray:
    """Field of what lies in both, its corners rounded: a membrane does not make sharp edges."""
    return 0.5 * (first + second + np.sqrt((first - second) ** 2 + rounding**2)) - 0.2 * rounding


def _ellipse(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    return (np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) - 1.0) * min(rx, ry)


def _barrel(x: np.ndarray, y: np.ndarray, half_width: float, half_depth: float) -> np.ndarray:
    """A trunk's cross-section: an ellipse with flatter sides."""
    radius = (np.abs(x / half_width) ** 2.5 + np.abs(y / half_depth) ** 2.5) ** np.float32(0.4)
    return (radius - 1.0) * min(half_width, half_depth)


def _capsule(x: np.ndarray, y: np.ndarray, x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
    """Field of a thick line between two points of the slice; of a disc where they are one."""
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-6), 0.0, 1.0)
    return np.hypot(x - x0 - along * dx, y - y0 - along * dy) - radius


class _Slice:
    """One slice on which fields are painted over each other with edges one pixel soft."""

    def __init__(self, x: np.ndarray, y: np.ndarray, pixel: float) -> None:
        self.x, self.y, self.pixel = x, y, pixel
        self.hu = np.full(np.broadcast_shapes(x.shape, y.shape), AIR_HU, dtype=np.float32)

    def coverage(self, field: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - field / self.pixel, 0.0, 1.0)

    def paint(self, field: np.ndarray, hu: float | np.ndarray) -> None:
        self.hu += self.coverage(field) * (hu - self.hu)

    def tube(self, x0: float, y0: float, x1: float, y1: float, radius: float, hu: float) -> None:
        self.paint(_capsule(self.x, self.y, x0, y0, x1, y1, radius), hu)


def _cage_scale(z: float, top: float) -> float:
    """How far the chest has narrowed towards its top: 1 at the base, 0 at ``top``."""
    return float(np.sqrt(max(1.0 - (max(z - 80.0, 0.0) / (top - 80.0)) ** 2, 0.0)))


def _dome(x: np.ndarray, y: np.ndarray, anatomy: _Anatomy, side: int) -> np.ndarray:
    """Height of the diaphragm on one side (0 left, 1 right) over the slice."""
    dx = (x - anatomy.cage[0] * (0.48 if side == 0 else -0.48)) / (0.66 * anatomy.cage[0])
    dy = (y + 28.0) / (1.22 * anatomy.cage[1])
    return anatomy.floor[side] - 4.0 + (anatomy.dome_top[side] - anatomy.floor[side]) * (1.0 - dx * dx - dy * dy)


def _heart(x: np.ndarray, y: np.ndarray, z: float, anatomy: _Anatomy) -> np.ndarray:
    dx, dy, scale, tilt = x - 24.0, y + 28.0, anatomy.heart_scale, anatomy.heart_tilt
    along, across = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
    radius = np.sqrt((along / 60.0) ** 2 + (across / 42.0) ** 2 + ((z - 106.0) / 48.0) ** 2)
    return (radius - scale) * 42.0


def _distance(dx: np.ndarray, dy: np.ndarray, dz: np.ndarray, way: np.ndarray, leeway: float = 0.0) -> np.ndarray:
    """Distance from a line along ``way`` that begins where dx, dy and dz are 0; ``leeway`` of it is free along z."""
    along = np.clip((dx * way[0] + dy * way[1] + dz * way[2]) / (way @ way), 0.0, 1.0)
    above = np.maximum(np.abs(dz - along * way[2]) - leeway, 0.0)
    return np.sqrt((dx - along * way[0]) ** 2 + (dy - along * way[1]) ** 2 + above**2)


def _airway_field(x: np.ndarray, y: np.ndarray, z: float, anatomy: _Anatomy) -> np.ndarray:
    """Field of the air in the trachea and the main bronchi on one slice."""
    carina = np.array([0.0, 16.0, anatomy.carina])
    ends = ((0.0, 8.0, HEIGHT_MM + 20.0), (38.0, 16.0, anatomy.carina - 26.0), (-34.0, 16.0, anatomy.carina - 22.0))
    parts = [_distance(x - carina[0], y - carina[1], z - carina[2], np.array(end) - carina) for end in ends]
    return np.minimum.reduce([parts[0] - 8.5, parts[1] - 6.0, parts[2] - 7.0])


def _lungs(x: np.ndarray, y: np.ndarray, z: float, anatomy: _Anatomy) -> list[np.ndarray]:
    """Fields of the left and the right lung on one slice."""
    heart = _heart(x, y, z, anatomy)
    bulge = 17.0 * np.exp(-(((y - 10.0) / 36.0) ** 2)) + 17.0 * np.exp(-(((y - 62.0 - anatomy.back) / 20.0) ** 2))
    between = 9.0 + anatomy.mediastinum + bulge + 6.0 * _rise(z, 205.0, 250.0)
    fields = []
    for side, sign in enumerate((1.0, -1.0)):
        scale = _cage_scale(z, anatomy.apex[side]) + 1e-3
        width = anatomy.cage[0] * anatomy.lung_width[side] * scale
        field = _barrel(x, y - 10.0 * (1.0 - scale), width, anatomy.cage[1] * scale)
        field = _intersect(field, between - sign * x)
        field = _intersect(field, 0.7 * (_dome(x, y, anatomy, side) - z), 4.0)
        field = _intersect(field, 4.0 - heart)
        hilum = np.sqrt((x - sign * 36.0) ** 2 + (y - 14.0) ** 2 + (0.7 * (z - anatomy.carina + 24.0)) ** 2)
        field = _intersect(field, 17.0 - hilum)
        inside = anatomy.floor[side] < z < anatomy.apex[side]
        fields.append(_intersect(field, 4.0 - _airway_field(x, y, z, anatomy), 1.0) + (0.0 if inside else 1e3))
    return fields


def _paint_wall(slice_: _Slice, z: float, anatomy: _Anatomy, streaks: np.ndarray) -> np.ndarray:
    """Table, fat, muscle and bones of the chest wall; returns the field of the chest cavity."""
    x, y = slice_.x, slice_.y
    table_top = anatomy.half_depth + 8.0
    slice_.paint(_barrel(x, y - table_top, 0.92 * anatomy.half_width, 10.0), -180.0)
    slice_.paint(_barrel(x, y - table_top, 0.92 * anatomy.half_width - 3.0, 7.0), -880.0)

    flatter = 0.2 * anatomy.half_depth * _rise(z, 185.0, 280.0)
    body = _barrel(x, y - flatter, anatomy.half_width - 0.8 * flatter, anatomy.half_depth - flatter)
    scale = _cage_scale(z, 290.0)
    cage = _barrel(x, y - 10.0 * (1.0 - scale), anatomy.cage[0] * scale, anatomy.cage[1] * scale)
    slice_.paint(body, FAT_HU)
    fat = anatomy.fat * (1.0 + 0.35 * np.abs(y) / anatomy.half_depth)
    slice_.paint(body + fat, np.where(np.abs(streaks) < 0.10, np.float32(-55.0), np.float32(MUSCLE_HU)))
    slice_.paint(cage - 3.0, MUSCLE_HU)

    for sign in (1.0, -1.0):
        blade = _capsule(x, y, sign * 58.0, 86.0 + anatomy.back, sign * 112.0, 62.0 + anatomy.back, 3.5)
        if 130.0 < z < 245.0:
            slice_.paint(np.maximum(blade, 11.0 - cage), 420.0)

    # A rib falls towards the front, so that one slice cuts several of them, each at another angle.
    angle = np.arctan2(np.abs(x), y - 10.0 * (1.0 - scale)) / np.float32(np.pi)
    height = np.mod(z + 85.0 * angle - anatomy.rib_phase, 23.0) - 11.5
    rib = (np.hypot((cage - 4.5) / 4.2, height / 6.0) - 1.0) * 4.2
    rib = np.where((angle > 0.06) & (angle < 0.93), rib, 10.0)
    for inset, hard, cartilage in ((0.0, CORTICAL_HU, 110.0), (1.6, TRABECULAR_HU, 90.0)):
        slice_.paint(rib + inset, np.where(angle > 0.80, np.float32(cartilage), np.float32(hard)))
    if 100.0 < z < 238.0:
        front = -anatomy.cage[1] * scale + 10.0 * (1.0 - scale) - 5.0
        slice_.paint(_ellipse(x, y, 0.0, front, 16.0, 5.0), 400.0)
    return cage


def _paint_abdomen(slice_: _Slice, z: float, anatomy: _Anatomy, cage: np.ndarray) -> None:
    """Liver, stomach with its gas, and spleen, up to the diaphragm."""
    x, y = slice_.x, slice_.y
    left, right = (np.maximum(cage + 2.0, 0.7 * (z - _dome(x, y, anatomy, side) + 3.0)) for side in (0, 1))
    slice_.paint(np.maximum(right, x - 30.0), 60.0)
    slice_.paint(np.maximum(left, 28.0 - x), MUSCLE_HU)
    left = left + 3.0
    slice_.paint(np.maximum(left, 33.0 - x), FAT_HU)
    swell = _rise(anatomy.dome_top[0] - 6.0 - z, 0.0, 30.0)
    if swell > 0.0:
        slice_.paint(np.maximum(left, _ellipse(x, y, 66.0, -24.0, 36.0 * swell, 34.0 * swell)), 30.0)
        slice_.paint(np.maximum(left, _ellipse(x, y, 98.0, 36.0, 24.0 * swell, 38.0 * swell)), 48.0)
    if swell > 0.4:
        # Gas rises to the front of the stomach and has a level.
        gas = np.maximum(_ellipse(x, y, 66.0, -26.0, 30.0 * swell, 27.0 * swell), left + 4.0)
        slice_.paint(np.maximum(gas, y + 44.0 - anatomy.gas), AIR_HU)


def _paint_mediastinum(slice_: _Slice, z: float, anatomy: _Anatomy) -> None:
    """Heart, great vessels, gullet, spine and airways, over what surrounds them."""
    x, y = slice_.x, slice_.y
    arch = anatomy.carina + 30.0
    for inset, hu in ((-3.0, FAT_HU), (0.0, MUSCLE_HU), (11.0, BLOOD_HU)):
        slice_.paint(_heart(x, y, z, anatomy) + inset, hu)
    back, trunk = anatomy.back, (122.0, anatomy.carina - 4.0)
    for low, high, *tube in (
        (-1.0, arch, 24.0, 38.0 + back, 24.0, 38.0 + back, 12.0),  # descending aorta
        (120.0, arch + 4.0, -12.0, -18.0, -12.0, -18.0, 15.0),  # ascending aorta
        (arch - 14.0, arch + 12.0, -10.0, -18.0, 24.0, 36.0 + back, 11.5),  # its arch
        (*trunk, 17.0, -24.0, 28.0, 10.0, 11.0),  # pulmonary trunk and its two arteries
        (*trunk, 14.0, -4.0, -34.0, 2.0, 8.0),
        (120.0, HEIGHT_MM + 1.0, -27.0, -10.0, -27.0, -10.0, 8.0),  # superior vena cava
        (arch, HEIGHT_MM + 1.0, -14.0, -12.0, -14.0, -12.0, 6.0),  # artery of the head and the right arm
        (-1.0, HEIGHT_MM + 1.0, 6.0, 29.0 + back, 6.0, 29.0 + back, 6.5),  # gullet
    ):
        if low < z < high:
            slice_.paint(_capsule(x, y, *tube), BLOOD_HU)

    slice_.tube(0.0, 82.0 + back, 0.0, 93.0 + back, 5.0, 550.0)
    slice_.tube(-13.0, 72.0 + back, 13.0, 72.0 + back, 13.0, 450.0)
    slice_.paint(_ellipse(x, y, 0.0, 52.0 + back, 20.0, 15.0), CORTICAL_HU)
    slice_.paint(_ellipse(x, y, 0.0, 52.0 + back, 17.5, 12.5), TRABECULAR_HU)
    slice_.tube(0.0, 73.0 + back, 0.0, 73.0 + back, 8.0, 30.0)

    airway = _airway_field(x, y, z, anatomy)
    slice_.paint(airway - 2.0, 35.0)
    slice_.paint(airway, AIR_HU)


def _vessels(
    rng: np.random.Generator, anatomy: _Anatomy, labels: np.ndarray, axes: tuple[np.ndarray, ...], pixel: float
) -> np.ndarray:
    """How much of each voxel is a lung vessel, (rows, columns, slices) float32 in 0..1: two trees of dividing tubes."""
    share = np.zeros(labels.shape, dtype=np.float32)
    for label, sign in ((LEFT_LUNG, 1.0), (RIGHT_LUNG, -1.0)):
        way = rng.normal(size=(11, 3)) * (0.8, 1.0, 1.3)
        way[:, 0] = sign * (np.abs(way[:, 0]) + 0.5)
        start = np.tile((sign * 40.0, 14.0, anatomy.carina - 26.0), (len(way), 1))
        radius = rng.uniform(3.4, 4.8, size=len(way))
        for generation in range(6):
            way /= np.linalg.norm(way, axis=1, keepdims=True)
            stop = start + way * rng.uniform(18.0, 30.0, size=(len(way), 1)) * 0.92**generation
            for tube in zip(start, stop, radius, strict=True):
                _add_tube(share, *tube, axes, pixel)
            inside = [np.abs(axis[:, None] - stop[:, i]).argmin(axis=0) for i, axis in enumerate(axes)]
            # The tree ends at the pleura; near the hilum it has not entered the lung yet.
            alive = (labels[inside[1], inside[0], inside[2]] == label) | (generation < 1)
            turn = rng.normal(scale=0.42, size=(len(way), 3))
            start, radius = np.concatenate((stop[alive],) * 2), np.concatenate((radius[alive], radius[alive])) * 0.74
            way = np.concatenate(((way + turn)[alive], (way - turn)[alive]))
    return share


def _add_tube(
    share: np.ndarray, start: np.ndarray, stop: np.ndarray, radius: float, axes: tuple[np.ndarray, ...], pixel: float
) -> None:
    """Lay one tube into ``share``; in a thick slice a thin tube that runs along it is diluted."""
    thickness = float(axes[2][1] - axes[2][0])
    reach = np.array((radius + pixel, radius + pixel, radius + 0.5 * thickness))
    edges = zip(np.minimum(start, stop) - reach, np.maximum(start, stop) + reach, strict=True)
    x, y, z = (slice(*np.searchsorted(axis, pair)) for axis, pair in zip(axes, edges, strict=True))
    dx, dy, dz = axes[0][None, x, None] - start[0], axes[1][y, None, None] - start[1], axes[2][None, None, z] - start[2]
    way = stop - start
    distance = _distance(dx, dy, dz, way, 0.5 * thickness)
    level = 1.0 - abs(way[2]) / np.linalg.norm(way)
    filling = min(1.0, 2.0 * radius / max(level * thickness, 1e-6)) * min(1.0, 2.0 * radius / pixel)
    box = share[y, x, z]
    np.maximum(box, filling * np.clip(0.5 + (radius - distance) / pixel, 0.0, 1.0), out=box)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...]) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return noise / noise.std()


def chest_ct(
    shape: tuple[int, int, int] = (256, 256, 40), seed: int = 0, spacing_mm: tuple[float, float, float] | None = None
) -> tuple[Volume, np.ndarray]:
    """Make a synthetic chest CT and the masks of its lungs.

    The body lies upright in each slice: front at the top, spine and table at the bottom, the patient's left on the
    right-hand side. Slice 0 is the lowest; the first and the last show no lung. The seed varies the build of the body,
    the lungs, heart, diaphragm, vessels and noise; the same arguments give the same voxels.

    Args:
        shape: (rows, columns, slices), at least (32, 32, 3).
        seed: which patient, 0 or more.
        spacing_mm: (row, column, slice) in millimetres; by default what fits a chest of usual size, (1.4, 1.4, 7.0)
            at the default shape. The body is scaled to fill the smaller side of the field of view.

    Returns:
        The volume, int16 in Hounsfield units, rows first (``swap_axes`` is True, the affine is that of the same voxels
        in NIfTI's order x, y, z), and its labels, uint8 of the same shape: 1 left lung, 2 right lung, 0 elsewhere.

    Raises:
        UserError: a shape too small for a chest, a negative seed, or a spacing that is not positive.
    """
    if len(shape) != 3 or any(size < least for size, least in zip(shape, SMALLEST_SHAPE, strict=False)):
        raise UserError(f"phantom: shape {tuple(shape)} is too small, at least {SMALLEST_SHAPE} rows, columns, slices")
    if seed < 0:
        raise UserError(f"phantom: seed {seed} is negative")
    rows, columns, slices = shape
    if spacing_mm is None:
        in_plane = FIELD_OF_VIEW_MM / min(rows, columns)
        spacing_mm = (in_plane, in_plane, HEIGHT_MM / (slices - 1))
    if not all(0 < step < np.inf for step in spacing_mm):
        raise UserError(f"phantom: spacing {spacing_mm} mm is not positive")

    body_rng, vessel_rng, noise_rng = (np.random.default_rng((seed, stream)) for stream in range(3))
    anatomy = _Anatomy(body_rng)
    scale = FIELD_OF_VIEW_MM / min(rows * spacing_mm[0], columns * spacing_mm[1])
    x = ((np.arange(columns) - (columns - 1) / 2) * spacing_mm[1] * scale - anatomy.centre[0]).astype(np.float32)
    y = ((np.arange(rows) - (rows - 1) / 2) * spacing_mm[0] * scale - anatomy.centre[1]).astype(np.float32)
    z = np.linspace(0.0, HEIGHT_MM, slices, dtype=np.float32)
    pixel = float(max(spacing_mm[:2]) * scale)

    streaks = _smooth_noise(noise_rng, (rows, columns), (9.0 / pixel,) * 2)
    voxels, lung_share = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    for slice_index, height in enumerate(z.tolist()):
        slice_ = _Slice(x[None, :], y[:, None], pixel)
        cage = _paint_wall(slice_, height, anatomy, streaks)
        slice_.paint(cage + 1.0, -60.0)
        _paint_abdomen(slice_, height, anatomy, cage)
        _paint_mediastinum(slice_, height, anatomy)
        lungs = _lungs(slice_.x, slice_.y, height, anatomy)
        for label, field in zip((LEFT_LUNG, RIGHT_LUNG), lungs, strict=True):
            labels[:, :, slice_index][field < 0] = label
        lung_share[:, :, slice_index] = slice_.coverage(np.minimum(*lungs))
        voxels[:, :, slice_index] = slice_.hu

    # Blood and water sink to the back, so that a lung is denser there.
    tissue = LUNG_HU + 0.45 * y[:, None, None] + 22.0 * _smooth_noise(noise_rng, shape, (3.0 / pixel, 3.0 / pixel, 0.0))
    vessels = _vessels(vessel_rng, anatomy, labels, (x, y, z), pixel)
    tissue += vessels * (40.0 - tissue)
    voxels += lung_share * (tissue - voxels)

    voxels += NOISE_HU * _smooth_noise(noise_rng, shape, (0.6, 0.6, 0.0))
    rounded = np.clip(np.rint(voxels), LOWEST_HU, 3071).astype(np.int16)

    affine = np.diag((-spacing_mm[1], -spacing_mm[0], spacing_mm[2], 1.0))
    affine[:3, 3] = (spacing_mm[1] * (columns - 1) / 2 + 1.5, spacing_mm[0] * (rows - 1) / 2 + 168.0, -412.0)
    row_mm, column_mm, slice_mm = map(float, spacing_mm)
    return Volume(rounded, affine, (row_mm, column_mm, slice_mm), swap_axes=True), labels
