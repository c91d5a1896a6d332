"""Debian's packages for the tools: on this machine by apt, or in a folder entered by chroot.

The mirror is the one apt itself uses on this machine, whatever that is. The folders are a cache
that all clones of the repository share. The modules: `running` (commands, locks, the two ways to
fail), `apt` (this machine's packages, its mirror), `chroots` (folders of another release).
"""
