"""What decides the last digits of a result beside its program: instruction sets on CPUs, kernels on GPUs."""
