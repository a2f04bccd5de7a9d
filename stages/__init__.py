"""The nodes of the DAG, one module each: load, call, save."""

import signal
import sys

if sys.argv[0] == "-m":  # a stage is being imported: until its boundary stands, Ctrl-C just ends the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)
