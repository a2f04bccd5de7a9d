"""The nodes of the DAG, one module each: load, call, save."""

import sys

if sys.argv[0] == "-m" and not sys.flags.safe_path:
    import edgepress  # noqa: F401 - the one beside this package, wherever others are installed

    del sys.path[0]  # the current folder, whose files may be called as Python's modules are

import signal

if sys.argv[0] == "-m":  # a stage is being imported: until its boundary stands, Ctrl-C just ends the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)
