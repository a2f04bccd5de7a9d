"""`python -m edgepress`, the same as `edgepress`."""

from edgepress.cli import main

if __name__ == "__main__":
    main()
