"""The training recipe of Sec. III.B and its training loop."""
