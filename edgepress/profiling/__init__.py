"""How long each operator of a model takes on a device, beside the same layer of its baseline."""
