"""What an image encoder makes of a slice, kept between runs: another prompt on the same volume costs little.

A slice has one safetensors file, named by a hash of all that its content depends on: the model, its weights, the
precision, the device and the grey slice itself. Several processes may share a folder; what was not used for longest
goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose.cli import UserError
from pose.files.atomic import failure_named, remove_leftovers, temporary_beside, write_atomically

# part of every name: raise it where slices are prepared or tensors are stored in another way
FORMAT_VERSION = 1
SUFFIX = ".safetensors"
DEFAULT_LIMIT_BYTES = 20 * 10**9
# another process may write as much, unseen, before this one looks again at what the folder holds
SHARE_WRITTEN_UNSEEN = 0.05

LOGGER = logging.getLogger(__name__)


def model_key(
    name: str, checkpoint_sha256: str, image_size: int, precision: str, device: torch.device, *more: str | None
) -> str:
    """Return all that embeddings depend on beside the slice, as one text for :attr:`EmbeddingsCache.model_key`.

    Args:
        image_size: pixels a side at which the network sees a slice.
        precision: "fp32" or "bf16".
        device: its type counts, not its number.
        more: what else makes a difference, such as changes to the network's configuration.
    """
    # another PyTorch may round otherwise
    return json.dumps([name, checkpoint_sha256, image_size, precision, device.type, torch.__version__, *more])


class EmbeddingsCache:
    """Tensors by grey slice, in files of ``folder``.

    Attributes:
        folder: where the files lie; made where it is missing.
        model_key: what the tensors depend on beside the slice (:func:`model_key`); set by the segmenter that uses the
            cache, once its weights are loaded.
        limit_bytes: the files may take as much together.
        hits: slices that were found.
        misses: slices that were not.
    """

    def __init__(self, folder: Path, model_key: str = "", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        """Open or make the folder.

        Raises:
            UserError: the folder cannot be made or written.
        """
        self.folder = folder
        self.model_key = model_key
        self.limit_bytes = limit_bytes
        self.hits = 0
        self.misses = 0
        self._may_write = True
        with failure_named(f"--embeddings_cache {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            with temporary_beside(folder / "probe"):
                remove_leftovers(folder)
        self._bytes = self._shrink()
        self._written_unseen = 0

    def path_of(self, grey: np.ndarray) -> Path:
        """Return the file that holds, or would hold, the tensors of a slice, (rows, columns) uint8."""
        if not self.model_key:
            raise RuntimeError("EmbeddingsCache was used before its model_key was set")
        what = json.dumps([FORMAT_VERSION, self.model_key, str(grey.dtype), grey.shape])
        digest = hashlib.sha256(what.encode())
        digest.update(np.ascontiguousarray(grey).data)
        return self.folder / (digest.hexdigest() + SUFFIX)

    def get(self, grey: np.ndarray) -> dict[str, torch.Tensor] | None:
        """Return the tensors kept for a slice, (rows, columns) uint8, or None where there are none.

        They lie on the CPU and are what was put: values, types, shapes and the order of their dimensions in memory. A
        damaged file is removed, which is logged, and counts as none.
        """
        from safetensors import SafetensorError

        path = self.path_of(grey)
        try:
            tensors = _read(path)
        except FileNotFoundError:
            tensors = None
        except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            LOGGER.warning("%s: damaged, computed again (%s)", path, " ".join(str(error).split()))
            with contextlib.suppress(OSError):
                path.unlink()
            tensors = None
        if tensors is None:
            self.misses += 1
            return None
        self.hits += 1
        with contextlib.suppress(OSError):  # removed meanwhile, or another user's: its time stays
            os.utime(path)
        return tensors

    def put(self, grey: np.ndarray, tensors: dict[str, torch.Tensor]) -> None:
        """Keep ``tensors`` for a slice, (rows, columns) uint8, each in its own type.

        The file appears whole or not at all. Where it cannot be written any more (a full disk), or is larger than the
        limit, that is logged once and nothing further is kept.
        """
        if not self._may_write:
            return
        path = self.path_of(grey)
        content = _packed(tensors)
        if len(content) > self.limit_bytes:
            self._may_write = False
            LOGGER.warning(
                "--embeddings_cache %s: a slice takes %.3g GB, nothing is kept within %.3g GB",
                self.folder,
                len(content) / 1e9,
                self.limit_bytes / 1e9,
            )
            return
        try:
            write_atomically(path, lambda part: part.write_bytes(content))
        except UserError as error:
            self._may_write = False
            LOGGER.warning("--embeddings_cache %s: can take nothing more (%s)", self.folder, error)
            return
        self._bytes += len(content)
        self._written_unseen += len(content)
        if self._bytes > self.limit_bytes or self._written_unseen > SHARE_WRITTEN_UNSEEN * self.limit_bytes:
            self._bytes = self._shrink()
            self._written_unseen = 0

    def reset_counts(self) -> None:
        """Count hits and misses from here on."""
        self.hits = self.misses = 0

    def describe(self) -> dict[str, Any]:
        """Return what a run manifest says of the cache."""
        return {"folder": str(self.folder), "hits": self.hits, "misses": self.misses}

    def _shrink(self) -> int:
        """Remove what was not used for longest until the rest is within the limit; return the bytes that are left."""
        files = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                        status = entry.stat()
                        files.append((status.st_mtime_ns, entry.path, status.st_size))
                except FileNotFoundError:
                    continue  # another process removed it
        total = sum(size for _, _, size in files)
        for _, path, size in sorted(files):
            if total <= self.limit_bytes:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        return total


def recalled(
    embeddings: EmbeddingsCache | None,
    grey: np.ndarray,
    encode: Callable[[np.ndarray], dict[str, torch.Tensor]],
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """Return the tensors of a slice on ``device``: those kept, or those that ``encode`` makes, which are kept then."""
    if embeddings is None:
        return encode(grey)
    tensors = embeddings.get(grey)
    if tensors is None:
        tensors = encode(grey)
        embeddings.put(grey, tensors)
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _packed(tensors: dict[str, torch.Tensor]) -> bytes:
    """Return a safetensors file: tensors with their dimensions in the order of memory, that order, and a checksum.

    The order is kept because a network may compute other last bits from the same numbers in another layout.
    """
    from safetensors.torch import save

    orders = {name: _order_in_memory(one) for name, one in tensors.items()}
    stored = {
        # a copy of its own for each: safetensors takes no two tensors of one storage
        name: one.detach().permute(orders[name]).cpu().clone(memory_format=torch.contiguous_format)
        for name, one in tensors.items()
    }
    return save(stored, metadata={"orders": json.dumps(orders), "crc32": str(_checksum(stored))})


def _order_in_memory(tensor: torch.Tensor) -> list[int]:
    """Return the dimensions from the one whose steps are widest to the one whose steps are narrowest."""
    strides = tensor.stride()
    return sorted(range(tensor.dim()), key=lambda axis: -strides[axis])


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    if path.stat().st_size == 0:
        raise ValueError("empty")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        # a copy: the file may be removed, by this process or another, while its tensors are in use
        stored = {name: file.get_tensor(name).clone() for name in file.keys()}
    if _checksum(stored) != int(metadata["crc32"]):
        raise ValueError("its checksum is another")
    orders = json.loads(metadata["orders"])
    return {name: one.permute(np.argsort(orders[name]).tolist()) for name, one in stored.items()}


def _checksum(tensors: dict[str, torch.Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), value))
    return value
