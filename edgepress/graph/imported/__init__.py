"""A network from a file, made into what the pipeline's stages work on."""
