package wire

import "testing"

func BenchmarkAppend(b *testing.B) {
	h := sample()
	buf := make([]byte, 0, MaxSize)
	for b.Loop() {
		Append(buf, &h, nil)
	}
}

func BenchmarkDecode(b *testing.B) {
	h := sample()
	datagram, _ := Append(nil, &h, nil)
	for b.Loop() {
		Decode(datagram, &h)
	}
}
