"""From a trained network to a measured model on an edge device."""
