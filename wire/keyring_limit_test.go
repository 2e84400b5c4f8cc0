package wire

import (
	"strings"
	"testing"
)

// A ring holds as many pairwise keys as it says and no more.
func TestPairLimit(t *testing.T) {
	line := "1 send peer:0x%% " + strings.Repeat("a1", keySize)
	r := &KeyRing{send: -1, pairs: make(map[pair]Key, maxPairs)}
	for i := range uint64(maxPairs - 1) {
		r.pairs[pair{i, 2}] = Key{}
	}
	if err := r.addLine(strings.Replace(line, "%%", "1", 1)); err != nil {
		t.Errorf("the last one: %v", err)
	}
	if err := r.addLine(strings.Replace(line, "%%", "2", 1)); err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Errorf("one too many: %v", err)
	}
}
