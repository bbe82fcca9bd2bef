"""From what was asked for to a run; several runs as one."""
