"""Direct depthwise convolution and its gradients: what the procedures in ``schedules/depthwise_*.py`` are made of."""
