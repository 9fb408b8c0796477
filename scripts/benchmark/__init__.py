"""How fast ftclf is beside the ways in which people fine-tune these models today: what scripts/bench runs."""
