"""Who may call, and what their key allows. Pure rules: no HTTP, no files, no processes.

keys.py is the file of keys and what one entry says, callers.py finds the caller of a request and keeps its rate.
"""

from app.access.callers import Access, Caller
from app.access.keys import Disclosure, Key, Scope, make_entry, parse_keys

__all__ = ["Access", "Caller", "Disclosure", "Key", "Scope", "make_entry", "parse_keys"]
