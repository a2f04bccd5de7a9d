"""Commands on single files, outside the pipeline."""
