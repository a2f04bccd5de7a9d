"""Bodies of operators that the standard defines by words, in operators that have planners."""
