"""Fetching what an item's URL names, where the operator has switched it on. No items here, no models, no settings.

urls.py says which URLs are taken, addresses.py which network addresses, connecting.py connects to checked addresses
and to nothing else, fetching.py fetches within bounds. The last two need httpcore2, and are imported only where URLs
are switched on; so nothing is imported here.
"""
