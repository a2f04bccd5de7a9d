"""Devices: where finished models are run and timed, and the self-contained program that runs them."""
