package engine_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The house rules, held by a test, after TigerBeetle's tidy.zig.

const hotPath = "// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop."

// maxFunctionLines keeps a function on a screen.
const maxFunctionLines = 70

// topLevel is exactly what lies at the top, besides files that begin with a dot.
var topLevel = []string{
	"CHANGELOG.md", "Makefile", "README.md", "bench", "bin", "bpf", "cmd", "engine", "fuzz", "go.mod", "go.sum", "ringbuf", "wire",
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			t.Errorf("%s does not belong at the top", name)
		}
	}
}

// sources parses every Go file of the module.
func sources(t *testing.T, visit func(path, text string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		visit(path, string(text), set, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFunctionsAreShort(t *testing.T) {
	functions := 0
	sources(t, func(path, _ string, set *token.FileSet, file *ast.File) {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || strings.HasSuffix(path, "_test.go") {
				continue
			}
			functions++
			if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines", path, f.Name.Name, lines)
			}
			if f.Doc == nil && f.Name.IsExported() && f.Recv == nil && file.Name.Name != "main" {
				t.Errorf("%s: %s has no comment", path, f.Name.Name)
			}
		}
	})
	if functions < 100 {
		t.Errorf("only %d functions looked at", functions)
	}
}

// Files that say they are the hot path keep to it, as far as syntax shows.
func TestHotPath(t *testing.T) {
	files := 0
	sources(t, func(path, text string, set *token.FileSet, file *ast.File) {
		if !strings.HasPrefix(text, hotPath) {
			return
		}
		files++
		for _, i := range file.Imports {
			switch strings.Trim(i.Path.Value, `"`) {
			case "fmt", "log", "log/slog", "sync":
				if allowedThere(path, "imports "+i.Path.Value) {
					continue
				}
				t.Errorf("%s imports %s", path, i.Path.Value)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if what := forbidden(n); what != "" && !allowedThere(path, what) {
				t.Errorf("%s: %s", set.Position(n.Pos()), what)
			}
			return true
		})
	})
	if files < 8 {
		t.Errorf("only %d files say that they are the hot path", files)
	}
}

// forbidden names what a node does that the hot path must not.
func forbidden(n ast.Node) string {
	switch n := n.(type) {
	case *ast.DeferStmt:
		return "defer"
	case *ast.GoStmt:
		return "go"
	case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
		return "channel"
	case *ast.MapType:
		return "map"
	case *ast.ForStmt:
		if n.Cond == nil {
			return "loop without a condition"
		}
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "channel"
		}
	case *ast.CallExpr:
		switch name := callee(n); name {
		case "time.Now", "time.Since", "clock.Now", "clock.Read":
			return "clock read"
		case "Lock", "TryLock", "RLock":
			return "lock"
		}
	}
	return ""
}

// callee returns the name of what a call calls: package.Function, or the method's name.
func callee(c *ast.CallExpr) string {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); ok && (x.Name == "time" || x.Name == "clock") {
		return x.Name + "." + s.Sel.Name
	}
	return s.Sel.Name
}

// allowedThere lists the exceptions that a file's head explains.
func allowedThere(path, what string) bool {
	if strings.HasSuffix(path, "udp/wait.go") { // Wake is other goroutines'.
		return what == "lock" || what == "defer" || what == `imports "sync"`
	}
	return false
}

// A skip names what is missing, and is a failure in CI: the function that skips looks at
// SYSTOLE_CI. What the race detector cannot run is built without it, as alloc_test.go is.
func TestSkipsAreExplained(t *testing.T) {
	sources(t, func(path, _ string, set *token.FileSet, file *ast.File) {
		for _, d := range file.Decls {
			var skips []*ast.CallExpr
			excused := false
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if name := callee(n); name == "Skip" || name == "Skipf" || name == "SkipNow" {
						skips = append(skips, n)
					}
				case *ast.BasicLit:
					excused = excused || n.Value == `"SYSTOLE_CI"`
				}
				return true
			})
			for _, c := range skips {
				if !excused || len(c.Args) == 0 {
					t.Errorf("%s: a skip that gives no reason, or that CI would not notice", set.Position(c.Pos()))
				}
			}
		}
	})
}

// The first lines of a package's files say what it is.
func TestPackagesHaveComments(t *testing.T) {
	documented := make(map[string]bool)
	sources(t, func(path, _ string, _ *token.FileSet, file *ast.File) {
		dir := filepath.Dir(path)
		documented[dir] = documented[dir] || file.Doc != nil && len(file.Doc.Text()) > 40
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
