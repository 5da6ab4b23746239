"""The report of results as one page: what is read (``data``), its pictures, plots and tables, the page, and LaTeX."""
