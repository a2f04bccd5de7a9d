"""A folder or zip of images in folders of their classes."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgepress.artifacts import PREPARED
from edgepress.config.data import ImageFolder
from edgepress.datasets.class_names import require_class_names
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.decode import decode
from edgepress.datasets.image_files import Files, Place, layout, opened
from edgepress.datasets.prepared import UNKNOWN, Array
from edgepress.datasets.spool import Spool
from edgepress.errors import DataError
from edgepress.text import listed, one_line, shown

_NAMED = 100
"""So many unreadable images are named; a line that names thousands helps nobody."""


def load(config: ImageFolder) -> Dataset:
    """The images at `config.path`, resized and spooled to disk; classes, if they have some, sorted by name.

    Raises:
        DataError: the path is not what it should be, or, all at once, images are unreadable.
    """
    path = Path(config.path)
    files = opened(path)
    found = layout(files.names(), path, config.classes)
    class_names = tuple(sorted({place.label for place in found.images})) if config.classes else ()
    require_class_names(class_names, config.path)
    spool, unreadable = _spooled(files, found.images, config)
    readable = [place for place in found.images if place.name not in unreadable]
    _check(unreadable, found.images, readable, config)
    labels = {name: label for label, name in enumerate(class_names)}
    return Dataset(
        x=spool,
        y=np.array([labels.get(place.label, UNKNOWN) for place in readable], np.int64),
        class_names=class_names,
        value_range=(0.0, 255.0),
        source=config.source,
        licence=config.licence,
        given=_given(readable),
        remarks=_remarks(found.ignored, unreadable),
        names=[place.name for place in readable],
    )


def _spooled(files: Files, images: tuple[Place, ...], config: ImageFolder) -> tuple[Spool, dict[str, str]]:
    """The readable images in their order, and by name what is wrong with the others."""
    spool = Spool(PREPARED, (config.channels, config.size, config.size), np.dtype(np.uint8))
    unreadable = {}
    for place in tqdm(images, desc="images", unit="image", disable=None):
        try:
            image = decode(files.read(place.name), config.size, config.channels, config.fit)
        except (ValueError, DataError) as error:
            unreadable[place.name] = one_line(error, 150)
        else:
            spool.append(image)
    return spool, unreadable


def _check(
    unreadable: dict[str, str], images: tuple[Place, ...], readable: list[Place], config: ImageFolder
) -> None:
    if unreadable and not config.skip_corrupt:
        raise DataError(
            f"{len(unreadable)} of {len(images)} images in {config.path} cannot be read: "
            f"{_named(unreadable)}; repair or remove them, or leave them out with data.skip_corrupt=true"
        )
    lost = {p.label for p in images} - {p.label for p in readable if p.split in (None, "train")}
    if lost:
        raise DataError(
            f"{config.path} has no readable image to train on of {listed(sorted(lost)) or 'any kind'}: "
            f"{_named(unreadable)}; bring some"
        )


def _given(readable: list[Place]) -> dict[str, Array]:
    splits = np.array([place.split or "train" for place in readable])
    return {str(name): np.flatnonzero(splits == name) for name in np.unique(splits) if name != "train"}


def _remarks(ignored: tuple[str, ...], unreadable: dict[str, str]) -> tuple[str, ...]:
    skipped = f"left out {len(unreadable)} unreadable images: {_named(unreadable)}" if unreadable else ""
    others = f"passed over {len(ignored)} files that are no images: {listed(ignored)}" if ignored else ""
    return tuple(filter(None, (skipped, others)))


def _named(unreadable: dict[str, str]) -> str:
    return listed([f"{shown(name, 100)} ({reason})" for name, reason in unreadable.items()], _NAMED, 260)
