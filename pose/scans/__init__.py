"""From a file to a volume to grey slices: NIfTI and NumPy readers and writers, geometry, windows and grey levels, and a
synthetic chest CT. Arrays are (rows, columns, slices)."""
