package wiretest

import (
	"bytes"

	"systole/wire"
)

// tester is what Compare needs of a test, fuzz target or property.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Compare fails t unless package wire and the reference agree on b, and b, if valid,
// encodes to itself but for the tag.
func Compare(t tester, b []byte) {
	t.Helper()
	var got wire.Header
	messages, fault := wire.Decode(b, &got)
	want, wantMessages, wantFault := decode(b)
	if fault.String() != wantFault {
		t.Fatalf("Decode says %v, the reference %v\n%s", fault, wantFault, dump(b))
	}
	if fault != wire.OK {
		return
	}
	if got != want || !bytes.Equal(messages, wantMessages) {
		t.Fatalf("Decode gives %+v, the reference %+v\n%s", got, want, dump(b))
	}
	again, fault := wire.Append(nil, &got, messages)
	if fault != wire.OK {
		t.Fatalf("what was decoded does not encode: %v\n%s", fault, dump(b))
	}
	body := len(b)
	if got.KeyID != 0 {
		body -= wire.TagSize
	}
	if !bytes.Equal(again[:body], b[:body]) || len(again) != len(b) {
		t.Fatalf("encodes to other bytes:\n%s%s", dump(b), dump(again))
	}
}
