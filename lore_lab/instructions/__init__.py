"""Instruction evolution (AFRL 2602.10006): the lines before the query are mutated, scored on validation pairs, accepted or not.

The paper's procedure is not published: everything here is assumed. A mutation is any function (lines, generator) -> (its name, new lines) or None;
`operators` makes deterministic ones, `rewrite` one that asks a language model.
"""
