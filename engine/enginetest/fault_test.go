package enginetest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documentation of Fault has every kind with the fields that it uses.
func TestFaultsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("fault.go")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string][]string)
	for _, row := range regexp.MustCompile(`(?m)^//\t([a-z-]+) +((?:[A-Z]\w+ )+) +\S`).FindAllStringSubmatch(string(source), -1) {
		for _, field := range strings.Fields(row[2]) {
			documented[row[1]] = append(documented[row[1]], fieldName(field))
		}
	}
	for _, of := range kinds {
		if !slices.Equal(documented[of.kind], of.takes) {
			t.Errorf("%s uses %v, and is documented with %v", of.kind, of.takes, documented[of.kind])
		}
		delete(documented, of.kind)
	}
	if len(documented) > 0 {
		t.Errorf("there are no kinds %v", documented)
	}
}
