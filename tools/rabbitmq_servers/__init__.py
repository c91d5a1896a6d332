"""Real RabbitMQ servers for the tests, made from Debian's packages.

Two servers, named by their major version. `3` is bookworm's package: on a bookworm machine it
is installed there, elsewhere into a folder. `4` is sid's (trixie's on the days when sid's does
not install): always a folder made by debootstrap, entered by chroot. The folder is a cache
shared by all clones of the repository; everything that a node writes lies in its own clone.

How it holds together:

- A node is found again by a variable in the environment of its processes (`nodes.MARKER`), not
  by a pid file: `stop` asks the node to end, then kills whatever still carries the mark, so that
  a hung node, an epmd in the background or a half-finished start all end the same way.
- A chroot is entered inside a private mount namespace (`debian.chroots`): there is nothing to
  unmount, even after `kill -9`.
- Nothing is shared between two nodes: each has its own ports (AMQP, TLS, distribution, epmd),
  cookie, data and logs. Ports are preferred, not fixed: where one is taken, the next free block
  is used and written down, and `url` tells it.

The modules: `state` (paths, ports), `certificates`, `roots` (what is installed where), `nodes`
(configuration, start, stop), `handshake` (does AMQP answer), `commands`. The library never imports
any of this; only the tests call it, as a command.
"""
