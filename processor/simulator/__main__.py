"""``python -m processor.simulator`` starts the simulator alone."""

from processor.simulator.command import main

main()
