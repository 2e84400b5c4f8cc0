package wire_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every rule of PROTOCOL.md is cited by a test somewhere in the module, and every rule
// that a test cites exists.
func TestRulesAreCited(t *testing.T) {
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\*\*(W\d+)\.\*\*`).FindAllStringSubmatch(string(text), -1) {
		rules[m[1]] = false
	}
	if len(rules) < 20 {
		t.Fatalf("%d rules found", len(rules))
	}
	cite := regexp.MustCompile(`\bW\d+\b`)
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "rules_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, rule := range cite.FindAllString(string(source), -1) {
			if _, exists := rules[rule]; !exists {
				t.Errorf("%s cites %s, which is no rule", path, rule)
			}
			rules[rule] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for rule, cited := range rules {
		if !cited {
			t.Errorf("no test cites %s", rule)
		}
	}
}
