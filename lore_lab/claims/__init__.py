"""Claims of papers as experiments: files under experiments/, their points, the confound check, results and how they stand. Sits on top of
config, stages and analysis; imports no torch."""
