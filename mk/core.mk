# Handlers store pairs of words (the lazy flags): joining them in vector registers
# first costs more than two stores.
$(HVCORE_O): CFLAGS_ALL += $(if $(is-clang),,-fno-tree-slp-vectorize)
