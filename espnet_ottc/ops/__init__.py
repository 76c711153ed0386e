"""The numerics of OTTC: the loss, the transport and what belongs to them.  Imports torch alone."""
