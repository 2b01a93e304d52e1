"""The supervisor: owns the worker processes, their bundles and their state. No HTTP routes, no inference engine.

running.py     one service from its start to its exit code
catalogue.py   which bundles are served, which are refused, and when that stops the service
succession.py  what goes on, what is retired and what is said once the folder was read again
repertoire.py  which models run now, and how they are changed meanwhile
commands.py    the socket by which `twinserve reload` asks
fleet.py       all workers: kept alive, told the one truth, drained
worker.py      one worker process
listening.py   the listening socket
dealing.py     which worker gets the next connection, and how long a dead one is mourned
keys.py        the file of keys, at the start and at every reload
state.py       the folder that the service writes to
owner.py       whom the workers answer to
watching.py    which worker hangs
machine.py     how many workers and descriptors
exposing.py    metrics on a port of their own
"""

from app.supervisor.running import serve

__all__ = ["serve"]
