"""The recipe of Sec. III.B and the loop that follows it."""
