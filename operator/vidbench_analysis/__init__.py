"""Pure analysis: statistics, comparisons, gates and what reports are built from. No I/O, no clock, no framework."""
