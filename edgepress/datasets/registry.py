"""The data sets one can choose. To add one: a loader, a class in `config/data.py`, a line here."""

from pkgutil import resolve_name

from edgepress.config.data import CHOICES, DataConfig
from edgepress.datasets.dataset import Dataset

LOADERS = {
    "digits": "edgepress.datasets.digits:load",
    "image_folder": "edgepress.datasets.image_folder:load",
    "npz": "edgepress.datasets.npz:load",
    "inputs": "edgepress.datasets.inputs:load",
}
"""From the name in `data.name` to a function that takes its config; imported only when chosen."""


def dataset_name(config: DataConfig) -> str:
    """The name under which a config is chosen."""
    return next(name for name, cls in CHOICES.items() if cls is type(config))


def load_dataset(config: DataConfig) -> Dataset:
    """Load the data set that a config describes."""
    dataset = resolve_name(LOADERS[dataset_name(config)])(config)
    assert isinstance(dataset, Dataset)
    return dataset
