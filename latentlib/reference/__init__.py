"""Plain torch definitions: any device, any float dtype, differentiable. One file per concept that has a kernel."""
