"""Training steps for a GPU, which waits for Python while a small encoder trains kernel by kernel.

Texts lie end to end (`packed`), the encoder's blocks are a few large kernels (`blocks`, `attention`, `elementwise`,
`dropout`, `products`), weights are copied to the type of products all at once (`weights`) and stepped so (`updates`,
`adamw`), and a whole step is recorded and replayed (`recorded`, `steps`). Kernels could take the batches of several
trainings end to end; today there is one. Where kernels do not give what torch gives, they are not used (`trial`). The
modules, parameters and names stay those of transformers and peft. What uses triton is imported only where there is a
GPU.
"""
