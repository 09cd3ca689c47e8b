"""The curated catalogue: the types of what is in ``feeds/`` (:mod:`~sinkhole.catalogue.model`) and its reader.

An installed package holds a copy of ``feeds/`` in ``data``, so that it works without a checkout.
"""
