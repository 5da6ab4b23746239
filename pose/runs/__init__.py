"""Runs: one volume or many, from prompt to results. The only room that imports all others; the scripts import it."""
