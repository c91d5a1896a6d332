"""Leveret beside the other AMQP clients: CPU per message and wall rate, in one run.

`python -m bench` runs every client against one broker, each measurement in a process of its own,
the clients taking turns, and reports medians and the ratios to py-amqp and rabbitmq-c. It is
not a load test of the broker: what is compared is what a message costs the client.

jobs.py      what is measured, declared once
clients/     one file a client; registry.py lists them, driver.py is their common process
peer.py      a broker's side that costs nothing, for jobs where a real one would be the bottleneck
rabbitmq_c/  the C program for rabbitmq-c; native.py builds it
broker.py    queues and exchanges made, filled, checked and deleted around each measurement
runner.py    the order of the measurements, and the processes
memory.py    growth of a process
stats.py     median, spread, ratio
report.py    tables and JSON;  plot.py: SVG;  machine.py: where it ran
claims.py    the project's promises, and whether a run shows them
micro.py     the hot functions of `wire` by themselves, with pyperf (make bench-wire)
cli.py       the command line

To add a job: an entry in jobs.py and, if it is of a new kind, a method in driver.py and in each
client that can do it. To add a client: a file in clients/ and an entry in clients/registry.py.
"""
