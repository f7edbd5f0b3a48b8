"""The network: ResNet-50 in four stages, dimension interaction attention, four exits."""
