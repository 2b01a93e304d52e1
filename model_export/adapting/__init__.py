"""`adapt BUNDLE --data DATA`: a head on the embeddings of an encoder that is left as it is, where that is better.

frozen.py embeds the data once, by the code that serves; heads.py says what a head is, whitening.py and learning.py make
them; choosing.py chooses on validation; joining.py puts the head into the graph; judging.py decides on held-out units;
adapt.py is the command.
"""
