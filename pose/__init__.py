"""POSE, Prompt Once, Segment Everything: the library under the scripts at the top of the repository.

Data flows one way: volume -> intensity -> prompt -> segmenters -> metrics -> results -> figures.
"""

__version__ = "0.1.0"
