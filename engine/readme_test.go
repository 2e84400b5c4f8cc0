package engine

import (
	"os"
	"strings"
	"testing"
)

// The program in the README is an example that is compiled.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(source), "func Example_link() {\n")
	body, _, found := strings.Cut(body, "\n}\n")
	body = strings.ReplaceAll("\n"+body, "\n\t", "\n")
	if !found || !strings.Contains(string(readme), body+"\n") {
		t.Error("README.md does not hold the body of Example_link in engine/example_test.go")
	}
}
