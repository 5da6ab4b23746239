"""Files that appear whole, are locked while somebody writes, and are checked when they are read: atomic writing, locks,
tables as CSV, and what JSON and YAML may hold; and where this code lies. Knows nothing of scans or results."""
