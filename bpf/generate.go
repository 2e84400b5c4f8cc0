package bpf

// The objects are committed, so that building needs no clang. "make bpf" makes them anew.
//
//go:generate go tool bpf2go -target bpfel,bpfeb -no-global-types -cflags "-O2 -mcpu=v3 -Wall -Werror -fno-strict-aliasing" -output-dir $BPF_OUT stamps c/stamps.c
//go:generate go tool bpf2go -target bpfel,bpfeb -no-global-types -cflags "-O2 -mcpu=v3 -Wall -Werror -fno-strict-aliasing" -output-dir $BPF_OUT absorb c/absorb.c
//go:generate go tool bpf2go -target bpfel,bpfeb -no-global-types -cflags "-O2 -mcpu=v3 -Wall -Werror -fno-strict-aliasing" -output-dir $BPF_OUT handoff c/handoff.c
//go:generate go tool bpf2go -target bpfel,bpfeb -no-global-types -cflags "-O2 -mcpu=v3 -Wall -Werror -fno-strict-aliasing" -output-dir $BPF_OUT ktime c/ktime.c
