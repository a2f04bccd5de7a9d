"""check-params: all parameters, before anything is computed with one of them.

What it writes is always the same, but for values that DVC's run cache does not see, so that no other stage
runs again for anything else.
"""

from edgepress.artifacts import CHECKED, write_json
from edgepress.boundary import run_stage
from edgepress.config.load import read
from edgepress.config.validation import overlooked, validate


def main() -> None:
    """Refuse what no stage could take."""
    values = read()
    validate(values)
    write_json(CHECKED / "params", {"valid": True, **dict(overlooked(values))})
    print("check-params: all values are valid")


if __name__ == "__main__":
    run_stage(main)
