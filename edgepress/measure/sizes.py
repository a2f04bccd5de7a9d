"""The size of a file."""

import gzip
from pathlib import Path

from edgepress.artifacts import read_bytes


def size_metrics(path: Path) -> dict[str, int]:
    """`size_bytes`, and `size_gzip_bytes` at level 9: what a download or an update would carry."""
    content = read_bytes(path)
    return {"size_bytes": len(content), "size_gzip_bytes": len(gzip.compress(content, 9, mtime=0))}
