"""`twinserve tune`: which layout of processes and threads, and which batches, this machine runs its bundles best with.

running.py    one tuning from the bundles to the exit code
crew.py       the measuring processes of one layout, seen from outside
measuring.py  one measuring process
choice.py     which settings follow from the figures
table.py      the table that is printed
file.py       tuned.env, which a start reads
"""
