package bpf

// What only benchmarks use is in no program that links the package.
//
//go:generate go tool bpf2go -target bpfel,bpfeb -no-global-types -cflags "-O2 -mcpu=v3 -Wall -Werror -fno-strict-aliasing" -output-dir $BPF_OUT measure c/measure.c
