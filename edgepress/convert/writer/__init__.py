"""A plan written as a `.tflite`: its steps become operators, these a network in memory, and that the file."""
