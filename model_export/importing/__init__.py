"""Encoders that others trained, brought into bundles: one file a source, and what the sources share.

command.py is its command line; sentence_encoders.py, onnx_files.py and timm_backbones.py are the sources. declaring.py
says what an owner declares, graphs.py how a graph becomes bytes, publishing.py which bundles are written: those whose
graph gives what the original gives, and no others. sentence_directories.py reads what sentence_encoders.py imports, and
what training goes on from; token_rows.py writes BERT's layers, of both, as ONNX Runtime runs them fastest on CPU.
Of ONNX files onnx_spec.py is the spec, reading.py reads the file, foreign.py runs its own graph as its owner would,
wrapping.py is the bundle's graph around it; reference.py and culprits.py hold the owner's vectors against it, and
alternatives.py says what else may have been meant. minilm.py unpacks one package for `make import-minilm`.
"""
