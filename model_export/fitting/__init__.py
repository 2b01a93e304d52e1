"""`fit DATA`: from one's own data to a served verdict. It writes a recipe, and then does what the other commands do.

layouts.py finds the form of the data and its kind of item; pictures.py, sounds.py, series.py and texts.py look at the
items and say how they are prepared and by which small network; starts.py finds weights to begin with and tries them;
recipes.py writes the recipe, which the user may edit; chain.py follows it; doubts.py looks at what came out before it
is published; planning.py is `plan`.
"""
