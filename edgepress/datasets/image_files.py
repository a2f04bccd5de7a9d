"""The files below a folder or in a zip: which are images, and of which class and split by their places."""

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgepress.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""The files with these are images, in any case of letters; others are left alone."""

SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""From the name of a folder of classes to its split."""

_SHOWN = 10


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
        """The content of a file."""


class Folder:
    """The files below a folder; links are followed, unless to a folder that they lie in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        found: list[str] = []
        for place, folders, files in os.walk(self._path, followlinks=True):
            parts = Path(place).relative_to(self._path).parts
            folders[:] = [name for name in folders if not _circular(Path(place, name))]
            found += ["/".join((*parts, name)) for name in files]
            found += ["/".join((*parts, name, "")) for name in folders]
        return found

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()


class Archive:
    """The files in a zip, which is never unpacked.

    Raises:
        DataError: it is no zip, or a name in it leads out of it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"data.path is {str(path)!r}, which is neither a folder nor a zip ({error}); "
                "expected one of them"
            ) from error
        leading_out = [name for name in self._zip.namelist() if _leads_out(name)]
        if leading_out:
            raise DataError(
                f"{len(leading_out)} names in {path} lead out of it: {listed(leading_out)}; expected names "
                "below its own folders. Pack it anew, and mistrust where it came from"
            )

    def names(self) -> list[str]:
        return self._zip.namelist()

    def read(self, name: str) -> bytes:
        return self._zip.read(name)


def opened(path: Path) -> Files:
    """The files at `path`.

    Raises:
        DataError: there is nothing, or neither a folder nor a zip.
    """
    if not path.exists():
        raise DataError(
            f"data.path is {str(path)!r}, which does not exist; expected a folder or zip of images"
        )
    return Folder(path) if path.is_dir() else Archive(path)


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


def listed(names: Iterable[str], most: int = _SHOWN) -> str:
    """Some names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def _circular(folder: Path) -> bool:
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _leads_out(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0]


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
                f"{path} holds {name}, but {parts[0]!r} is no split; expected <class>/* or <split>/<class>/* "
                f"with one of the splits {', '.join(SPLIT_NAMES)}"
            )
        return Place(name, SPLIT_NAMES[parts[0].lower()], parts[1])
    raise DataError(
        f"{path} holds {name}; expected every image as <class>/* or <split>/<class>/*, "
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
