"""What is read beside the framework: the accelerator (`nvml`, `null`) and the host (`host`)."""
