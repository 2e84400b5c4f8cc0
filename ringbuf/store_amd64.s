//go:build !race

#include "textflag.h"

// On amd64 every store is a release store (Intel SDM 3A, 8.2.2): later loads may pass it,
// earlier stores and loads may not. That is what readers of a word with one writer need;
// the XCHG that sync/atomic uses also orders later loads, and costs 20 cycles.

// func store(p *uint64, v uint64)
TEXT ·store(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ v+8(FP), CX
	MOVQ CX, (AX)
	RET

// func push(head, dst *Word, src *uint64, words int, n uint64)
//
// head[0] = n+1; dst[0:words] = src[0:words]; head[1] = n+1
TEXT ·push(SB), NOSPLIT, $0-40
	MOVQ head+0(FP), AX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ words+24(FP), CX
	MOVQ n+32(FP), DX
	INCQ DX
	MOVQ DX, (AX)
	XORQ BX, BX
loop:
	CMPQ BX, CX
	JGE  done
	MOVQ (SI)(BX*8), R8
	MOVQ R8, (DI)(BX*8)
	INCQ BX
	JMP  loop
done:
	MOVQ DX, 8(AX)
	RET
