"""The nodes of the DAG, one module each: load, call, save."""
