"""Everything needed to run Tandem somewhere: on a bare machine, in containers, in a cluster."""
