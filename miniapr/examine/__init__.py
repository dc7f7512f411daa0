"""What a trained model can do, role by role, on problems that it has never seen; every figure with its interval."""
