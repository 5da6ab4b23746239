"""Hounsfield units: where they end."""

# Scanners fill what lies outside their field of view with one value, -2000, -3024 or lower. In Hounsfield units that
# is air: no tissue lies below.
LOWEST_HU = -1024.0
