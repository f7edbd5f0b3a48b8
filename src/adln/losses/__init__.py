"""The objective of Sec. II.B-C, one file per group of equations."""
