"""Results of a whole run: candidate against baseline, and the tables people read."""
