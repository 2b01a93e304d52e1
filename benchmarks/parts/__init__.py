"""What is measured. One file a part; each knows the bench and the running service, and gives plain values.

closed.py    closed loops: throughput beside the bound and peers, latency, CPU, memory, answers compared
overload.py  three times what the service can do
mixed.py     single compares beside bulk ones
latency.py   latency against load
"""
