"""Images and mounts, as each container runtime takes them."""
