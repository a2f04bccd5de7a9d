"""What a single model file holds: operators, formats, weights, work and memory."""
