"""`python -m edgepress`, the same as `edgepress`."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, whose files may be called as Python's modules are

    from edgepress.cli import main

    main()
