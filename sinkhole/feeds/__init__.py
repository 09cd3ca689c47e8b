"""Feeds: lists fetched from elsewhere, checked to be lists, and kept as last good copies."""
