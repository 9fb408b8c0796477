"""What is wrong with rows, before anything is trained on them: each check looks at them all and returns findings."""
