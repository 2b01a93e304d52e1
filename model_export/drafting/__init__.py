"""The draft of a spec for an ONNX file: what its graph says, and guesses for the rest, each marked with its reason.

graph.py reads the file, entries.py holds what is said of a field and writes the TOML, choosing.py decides which kind of
input it is and which output the embedding. A modality's guesses stand in the file of its name, as
`recognise(facts) -> str | None` (why it seems to be one) and `draft(facts) -> entries`. Nothing is guessed in silence.
"""
