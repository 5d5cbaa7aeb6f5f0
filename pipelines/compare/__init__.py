"""Models x ratios x seeds from one file of settings: resumable, with tables and plots.

``config`` reads the file, ``plan`` lists the cells, ``data`` loads what all of them share, ``cell``
trains and evaluates one, ``workers`` runs many, ``results`` keeps what they found, ``summary`` sums
it up, ``table`` and ``plots`` (``plot_lines``, ``plot_bars``) show it, and ``run`` chains these.
"""
