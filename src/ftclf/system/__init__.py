"""What Python, the operating system, other libraries and the hub are to ftclf: errors, signals, console, memory."""
