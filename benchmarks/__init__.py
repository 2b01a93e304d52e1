"""How fast the service is, beside its own bound and beside peers: `python -m benchmarks`, or `make bench`.

inputs.py     pictures and texts made for the project
workloads.py  what is asked: requests of one kind, for the service and for peers
bound.py      the same work without HTTP; crew.py does it in plain processes, layouts.py searches their best layout
wire.py       HTTP/1.1 on raw sockets; load.py sends in closed and open loops; samples.py sums up what came back
servers.py    a server under test, in processes of its own; processes.py reads its CPU time and memory
subjects.py   who is measured: bound, service, tutorial service, and the peers that are installed
contenders.py how peers are started and asked
checks.py     answers under load, in batches and alone compared
bench.py      what one run knows; parts/ has what is measured, one file a part
report.py     all of a run; promises.py holds it to what the project promises
table.py      Markdown; plot.py a picture of latency against load

Nothing here imports the service: it is started as anyone starts it, and asked over HTTP. Of `app` only the kernel is
used, for the bound does the very preparation that the service does. Timing is never a test.
"""
