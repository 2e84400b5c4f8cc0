package engine

import (
	"os"
	"strings"
	"testing"
)

// The program in the README is the Example that is compiled and run.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(source), "func Example() {\n")
	body, _, found := strings.Cut(body, "\t// Output:")
	if !found || !strings.Contains(string(readme), body) {
		t.Error("README.md does not hold the body of Example in engine/example_test.go")
	}
}
