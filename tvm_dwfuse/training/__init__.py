"""Training in TVM: backbones in Relax, differentiated, with this project's depthwise kernels forward and backward."""
