"""One conversion in a process of its own:
`python -m tests.bench.convert_once CONVERTER MODEL CALIBRATION TARGET`.

Prints the seconds that importing the converter and converting took, as JSON.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from edgepress.datasets.prepared import load_split
from edgepress.graph.formats import number_format
from edgepress.graph.io import load_model


def main() -> None:
    converter, model, calibration, target = sys.argv[1:]
    source, inputs = load_model(Path(model)), load_split(Path(calibration)).inputs()
    begin = time.perf_counter()
    convert = import_module(f"edgepress.convert.{converter}").convert
    imported = time.perf_counter()
    content = convert(source, number_format(source) == "int8", inputs)
    content.save(Path(target))
    end = time.perf_counter()
    print(json.dumps({"import_s": imported - begin, "convert_s": end - imported}))


if __name__ == "__main__":
    main()
