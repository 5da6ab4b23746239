"""SAM 2: its encoder, slice by slice (``image``), and its video memory (``memory``) driven layer by layer through a
volume.
"""
