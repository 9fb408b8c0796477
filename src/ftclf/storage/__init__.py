"""The disk: run folders, locks, the cache, files that are whole or not there, and one guarded reader of small files."""
