"""Encoder blocks of BERT and DistilBERT computed as a whole, forward and backward: what a CPU spends its steps on.

torch dispatches about 1,500 small operations for a step of MiniLM, casts every weight twice and keeps what autograd
asks for; here the backward pass is written out, weights are copied once a step, and the rows are shared out over the
cores. The modules, parameters and names stay those of transformers and peft; tests compare values and gradients.
"""
