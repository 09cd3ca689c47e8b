"""sinkhole: policy and feeds compiled once into a bundle that answers DNS, exports lists and proves its decisions."""

__version__ = "0.1.0"
