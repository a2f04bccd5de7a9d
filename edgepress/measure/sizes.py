"""The size of a file."""

import zlib
from pathlib import Path

from edgepress.artifacts import open_file

_MOST_BYTES = 2**36
_BLOCK_BYTES = 2**20
_LEVEL, _WITH_HEADER = 9, 31


def size_metrics(path: Path) -> dict[str, int]:
    """`size_bytes`, and `size_gzip_bytes` at level 9: what a download or an update would carry.

    Raises:
        ArtifactError: the file is absent, unreadable or no regular file.
    """
    size, packer = 0, zlib.compressobj(_LEVEL, zlib.DEFLATED, _WITH_HEADER)
    packed = 0
    with open_file(path, _MOST_BYTES) as file:
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            packed += len(packer.compress(block))
    return {"size_bytes": size, "size_gzip_bytes": packed + len(packer.flush())}
