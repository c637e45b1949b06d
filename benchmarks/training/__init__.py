"""What a training run needs besides its steps: memory on crowded images, and images read ahead of them."""
