"""Bundles of less precision: float16 from the framework, 8 bits from the graph, and what each must keep of fp32.

half.py and eight_bits.py make the graphs, the latter of what weights_last.py turned around; gate.py judges what they
lose, facts.py says what they cost, measured.py on what; model_export.quantize puts them together. A precision is a
bundle of its own: thresholds do not transfer.
"""
