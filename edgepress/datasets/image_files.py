"""The files below a folder or in a zip: which are images, and of which class and split by their places."""

import errno
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgepress.datasets.zips import Zip
from edgepress.errors import DataError
from edgepress.files import read
from edgepress.text import listed, shown

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""The files with these are images, in any case of letters; others are left alone."""

SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""From the name of a folder of classes to its split."""

MAX_IMAGE_BYTES = 2**30
"""Of one image's file."""

_SPARE_BYTES = 20 << 20
"""What an image in a zip may unpack to beyond the size of the whole zip; images are packed already."""

_Identity = tuple[int, int]
"""What tells whether two folders are one: the device, and the number there."""

_MOST_VISITS = 16
"""So often a folder may be reached through links; of links that cross, the ways multiply."""

_ABSENT = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Errors that are the file's own fault, such as of a link that leads nowhere."""


@dataclass(frozen=True)
class Place:
    """An image: its name in the folder or zip, its split or None, and the name of its class."""

    name: str
    split: str | None
    label: str


@dataclass(frozen=True)
class Layout:
    """All images in the order of their names, and the names of the files that are none."""

    images: tuple[Place, ...]
    ignored: tuple[str, ...]


class Files(Protocol):
    """Names of files and, with a slash at the end, folders; and the content of a file."""

    def names(self) -> list[str]:
        """All names, relative, with slashes between."""

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            ValueError, DataError: in a few words what is wrong with it.
            OSError: it cannot be read, through no fault of its own.
        """


class Folder:
    """The files below a folder; links are followed, unless to a folder that they lie in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        found, visits = list[str](), Counter[_Identity]()
        waiting = [("", frozenset([_identity(self._path.stat())]))]
        while waiting:
            prefix, above = waiting.pop()
            with os.scandir(self._path / prefix) as entries:
                for entry in entries:
                    own = _folder_identity(entry)
                    if own is None:
                        found.append(f"{prefix}{entry.name}")
                    elif own not in above:
                        visits[own] += 1
                        below = f"{prefix}{entry.name}/"
                        self._refuse_crossing(below, visits[own])
                        found.append(below)
                        waiting.append((below, above | {own}))
        return found

    def read(self, name: str) -> bytes:
        try:
            return read(self._path / name, MAX_IMAGE_BYTES, DataError)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            raise ValueError(error.strerror) from error

    def _refuse_crossing(self, folder: str, visits: int) -> None:
        if visits > _MOST_VISITS:
            raise DataError(
                f"links below {self._path} lead to the same folder again and again, last as {shown(folder)}; "
                "expected each folder once. Remove the links"
            )


def opened(path: Path) -> Files:
    """The files at `path`.

    Raises:
        DataError: there is nothing, or neither a folder nor a zip.
    """
    if not path.exists():
        raise DataError(
            f"data.path is {str(path)!r}, which does not exist; expected a folder or zip of images"
        )
    if path.is_dir():
        return Folder(path)
    try:
        return Archive(path)
    except ValueError as error:
        raise DataError(
            f"data.path is {str(path)!r}, which is neither a folder nor a zip ({error}); expected one of them"
        ) from error


class Archive(Zip):
    """The images in a zip, which is never unpacked."""

    def read(self, name: str, most: int = MAX_IMAGE_BYTES) -> bytes:
        return super().read(name, min(most, self.size + _SPARE_BYTES))


def layout(names: Iterable[str], path: Path, classes: bool) -> Layout:
    """What the names at `path` say. One folder around everything is looked through.

    Without `classes` all images belong together, wherever they lie.

    Raises:
        DataError: there is no image, one lies at another depth than the rest, a folder of a class is empty,
            or a split is unknown.
    """
    visible = sorted(name for name in names if not _hidden(name))
    files = [name for name in visible if not name.endswith("/")]
    images = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not images:
        raise DataError(f"{path} holds no image: none of {len(files)} files ends in {', '.join(SUFFIXES)}")
    ignored = tuple(sorted(set(files) - set(images)))
    if not classes:
        return Layout(tuple(Place(name, None, "") for name in images), ignored)
    _refuse_empty(visible, images, path)
    wrapped = _wrapping(images)
    places = tuple(_place(name, wrapped, path) for name in images)
    _check(places, path)
    return Layout(places, ignored)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _folder_identity(entry: "os.DirEntry[str]") -> _Identity | None:
    """Of what is a folder, perhaps through links; None of what is none, such as a link in circles."""
    try:
        return _identity(entry.stat()) if entry.is_dir() else None
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _refuse_empty(names: list[str], images: list[str], path: Path) -> None:
    holding = {parent.as_posix() for image in images for parent in PurePosixPath(image).parents}
    empty = [name for name in names if name.endswith("/") and name.rstrip("/") not in holding]
    if empty:
        raise DataError(
            f"{len(empty)} folders in {path} hold no image: {listed(empty)}; expected at least one in each. "
            "Remove them or bring their images"
        )


def _wrapping(images: list[str]) -> int:
    """How many folders lie around everything, e.g. 1 for `photos/<class>/*`."""
    paths = [image.split("/") for image in images]
    depth = 0
    while min(map(len, paths)) - depth >= 3 and len({parts[depth] for parts in paths}) == 1:
        if paths[0][depth].lower() in SPLIT_NAMES:
            break
        depth += 1
    return depth


def _place(name: str, wrapped: int, path: Path) -> Place:
    parts = name.split("/")[wrapped:]
    if len(parts) == 2:
        return Place(name, None, parts[0])
    if len(parts) == 3:
        if parts[0].lower() not in SPLIT_NAMES:
            raise DataError(
                f"{path} holds {shown(name)}, but {parts[0]!r} is no split; expected <class>/* or "
                f"<split>/<class>/* with one of the splits {', '.join(SPLIT_NAMES)}"
            )
        return Place(name, SPLIT_NAMES[parts[0].lower()], parts[1])
    raise DataError(
        f"{path} holds {shown(name)}; expected every image as <class>/* or <split>/<class>/*, "
        "or data.classes=false, where they have none"
    )


def _check(places: tuple[Place, ...], path: Path) -> None:
    splits = {place.split for place in places}
    if None in splits and len(splits) > 1:
        odd = [place.name for place in places if place.split is None]
        raise DataError(
            f"{len(odd)} images in {path} lie beside the splits: {listed(odd)}; expected all of them as "
            "<split>/<class>/*, or none"
        )
    labels = {place.label for place in places}
    if splits == {None} and {label.lower() for label in labels} <= SPLIT_NAMES.keys():
        raise DataError(
            f"the images in {path} lie in {', '.join(sorted(labels))} without a class; "
            "expected <split>/<class>/*"
        )
    if None not in splits:
        _check_splits(places, splits, path)
    if len(labels) < 2:
        raise DataError(
            f"{path} holds one class, {labels.pop()!r}; expected a folder for each of two or more"
        )


def _check_splits(places: tuple[Place, ...], splits: set[str | None], path: Path) -> None:
    if "train" not in splits:
        raise DataError(
            f"{path} has no folder 'train', only {', '.join(sorted(map(str, splits)))}; bring one"
        )
    known = {place.label for place in places if place.split == "train"}
    strange = sorted({place.label for place in places} - known)
    if strange:
        raise DataError(f"{path} has classes without an image in 'train': {listed(strange)}; bring some")
