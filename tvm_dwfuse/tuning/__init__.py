"""Learned search over the knobs of kernels: tasks, their spaces, runners, and the database of what was measured."""
