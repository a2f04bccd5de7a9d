"""RotaryEmbedding of ONNX Runtime's own domain: pairs of elements turned by angles of their places."""

import numpy as np

from edgepress.graph.normalise.microsoft_body import MicrosoftBody


def rotary_embedding(b: MicrosoftBody) -> None:
    """Of (batch, length, heads·size), or of (batch, heads, length, size)."""
    width = (b.dims(2) or (None,))[-1]
    rank, heads, turned = b.rank(0), *(b.attributes.get(k, 0) for k in ("num_heads", "rotary_embedding_dim"))
    if not width or rank not in (3, 4):
        b.refuse("the width of its tables is not known, or its input has neither 3 axes nor 4")
    if b.attributes.get("is_packed_batching", 0) or b.attributes.get("scale", 1.0) != 1.0:
        b.refuse("it takes packed batches, or scales")
    x, size = b.input(0), 2 * width
    if turned and heads:
        hidden = (b.dims(0) or (None,))[-1]
        if hidden is None:
            b.refuse("the size of its input is not known")
        size = hidden if rank == 4 else hidden // heads
    if rank == 3:
        x = b("Reshape", x, np.array([0, 0, -1, size]))
    parts = [x] if size == 2 * width else b.split(x, [2 * width, size - 2 * width], -1)
    parts[0] = _turned(b, parts[0], rank, width)
    made = parts[0] if len(parts) == 1 else b("Concat", *parts, axis=-1)
    if rank == 3:
        b.gives("Reshape", made, np.array([0, 0, -1]))
    else:
        b.gives("Identity", made)


def _turned(b: MicrosoftBody, x: str, rank: int, width: int) -> str:
    """Both elements of each pair, which lie side by side, or half of all apart."""
    cosine, sine = (b.unsqueeze(_of_places(b, index, x, rank), 2 if rank == 3 else 1) for index in (2, 3))
    apart = not b.attributes.get("interleaved", 0)
    if apart:
        one, other = b.split(x, [width, width], -1)
    else:
        pairs = b("Reshape", x, np.array([0, 0, 0, -1, 2]))
        one, other = (b("Gather", pairs, np.int64(place), axis=-1) for place in (0, 1))
    first = b("Sub", b("Mul", one, cosine), b("Mul", other, sine))
    second = b("Add", b("Mul", one, sine), b("Mul", other, cosine))
    if apart:
        return b("Concat", first, second, axis=-1)
    joined = b("Concat", b.unsqueeze(first, 4), b.unsqueeze(second, 4), axis=-1)
    return b("Reshape", joined, np.array([0, 0, 0, -1]))


def _of_places(b: MicrosoftBody, table: int, x: str, rank: int) -> str:
    """Rows of a table: (batch, length, width), or (1, length, width) from one place on."""
    places = b.input(1)
    if b.rank(1) == 1:
        count = b("Gather", b("Shape", x), np.int64(1 if rank == 3 else 2), axis=0)
        places = b.unsqueeze(b("Add", places, b("Range", np.int64(0), count, np.int64(1))), 0)
    return b("Gather", b.input(table), places, axis=0)
