"""Encoders that others trained, brought into bundles: one file a source, and what the sources share.

sentence_encoders.py, onnx_files.py and timm_backbones.py are the sources. declaring.py says what an owner declares,
graphs.py how a graph becomes bytes, publishing.py which bundles are written: those whose graph gives what the original
gives, and no others. sentence_directories.py reads what sentence_encoders.py imports, and what training goes on from.
Of ONNX files onnx_spec.py is the spec, foreign.py the file's own graph as its owner would run it,
wrapping.py the bundle's graph around it. minilm.py unpacks one package for `make import-minilm`.
"""
