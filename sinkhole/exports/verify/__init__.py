"""Proof that an export means what its list says: every file is loaded into the software that it is for, asked for
thousands of names, and compared.

``meaning`` says what the list says, ``questions`` what to ask, ``engines`` how to load a file into real software and
``standins`` what software does that cannot run here, each from its manual and without our own readers; ``running`` and
``asking`` are what engines need, and ``comparison`` puts it all together.
"""
