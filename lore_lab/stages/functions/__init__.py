"""The stage functions: each reads its slice and its input artifacts, writes its output folder, returns its metrics."""
