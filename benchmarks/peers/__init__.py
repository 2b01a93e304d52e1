"""Servers that others would write or install. None is a dependency of the service; each runs in processes of its own.

tutorial.py      FastAPI and ONNX Runtime as tutorials put them together
litserve_app.py  the same network behind LitServe, in a virtual environment of its own
kernel.py        what both need of a bundle

infinity-emb is started by its own command. requirements-*.txt hold what `make bench-peers` installs, each into a
virtual environment of its own.
"""
