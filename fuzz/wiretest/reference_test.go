package wiretest

import (
	"reflect"
	"testing"

	"systole/wire"
)

// W1: the table of the reference codec covers every byte of the header once, and every
// field of Header.
func TestTableIsWhole(t *testing.T) {
	next, named := 0, make(map[string]bool)
	for _, f := range fields {
		if f.Offset != next {
			t.Errorf("%s lies at %d, the field before ends at %d", f.Name, f.Offset, next)
		}
		next = f.Offset + f.Size
		named[f.Header] = true
	}
	if next != wire.HeaderSize {
		t.Errorf("the fields end at %d", next)
	}
	header := reflect.TypeOf(wire.Header{})
	for i := range header.NumField() {
		if !named[header.Field(i).Name] {
			t.Errorf("field %s is not in the table", header.Field(i).Name)
		}
	}
}
