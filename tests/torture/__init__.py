"""Faults injected, inputs mutated, figures counted: the long versions of tests that `pytest` runs in short.

`python -m torture` runs them and prints what was tried and what was lost. A part is a module with a function
`attacks(folder, seed, share)` that yields a Tally an attack; `share` scales how many cases each tries, 1 is the long
version.
"""
