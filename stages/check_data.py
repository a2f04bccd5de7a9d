"""check-data: whether the parameters fit the prepared data, before anything is trained on it.

What it writes is always the same, so that no other stage runs again for it.
"""

import sys

from edgepress.artifacts import CHECKED, PREPARED, write_bytes
from edgepress.boundary import run_stage
from edgepress.config.load import read


def main() -> None:
    """Refuse what the data is too small for; say what is made smaller to fit."""
    from edgepress.datasets.fit import fit
    from edgepress.datasets.prepared import load_description

    for remark in fit(read(), load_description(PREPARED / "description.json")):
        print(f"warning: {remark}", file=sys.stderr)
    write_bytes(CHECKED / "data", b"fits\n")
    print("check-data: the data suffices")


if __name__ == "__main__":
    run_stage(main)
