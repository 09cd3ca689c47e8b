"""Rules to bundle: merge the sources of each list, guard, resolve what each name comes to, and write it."""
