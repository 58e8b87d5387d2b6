"""Virtual phones: real adbd and real processes in Linux namespaces, simulated sensors. See docs/virtual-lab.md."""
