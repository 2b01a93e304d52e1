"""`embed-files`: the embeddings of a folder or a table of items, in shards that survive a kill. No HTTP, no verdicts.

sources.py finds the items, embedding.py embeds some of them, processes.py and cluster.py let many do so at once,
output.py keeps what is done, running.py puts them together.
"""
