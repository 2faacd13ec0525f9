"""Scores by the lm-evaluation-harness: which tasks, answered by whom, written how."""
