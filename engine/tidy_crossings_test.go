package engine_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// crossing are the types by which something goes from one goroutine to another. "x." is all of a
// package.
var crossing = []string{
	"sync.", "atomic.", "ringbuf.Word", "ringbuf.MPSC",
	"book.Book", "names.Runner", "network.Network", "recording.Recorder",
}

// crossings is what the code has: go statements by what they call, channels and fields by name. The
// value says where.
type crossings struct {
	t     *testing.T
	found map[string]string
	chans map[string]bool // the names of fields that are channels
}

// The section Crossings of the package's documentation lists every way from one goroutine to
// another, and none that is not there: a line is "Type.field, field  what crosses", "Type.*" for
// all such fields of a type, "go f" for a go statement, "function.variable" for a local channel.
// For internal/names, which has goroutines and no reader's documentation, the engine lists those.
func TestCrossingsAreListed(t *testing.T) {
	for _, p := range []struct {
		dir, goes string // goes: a directory of which the go statements are listed as well
		least     int
	}{{"../engine", "../engine/internal/names", 60}, {"../engine/level", "", 3}} {
		crossingsOf(t, p.dir, p.goes, p.least)
	}
}

// crossingsOf holds the list of one package against its code, which has least crossings or more.
func crossingsOf(t *testing.T, dir, goes string, least int) {
	c := crossings{t: t, found: make(map[string]string), chans: make(map[string]bool)}
	listed := make(map[string]bool)
	ofPackage(t, dir, func(name string, set *token.FileSet, file *ast.File) {
		if name == "doc.go" {
			listed = listing(comments(file))
		}
		c.fields(set, file)
	})
	ofPackage(t, dir, func(_ string, set *token.FileSet, file *ast.File) { c.statements(set, file, true) })
	ofPackage(t, goes, func(_ string, set *token.FileSet, file *ast.File) { c.statements(set, file, false) })
	if len(c.found) < least {
		t.Fatalf("%s: only %d crossings were found", dir, len(c.found))
	}
	used := make(map[string]bool)
	for name, where := range c.found {
		typ, _, _ := strings.Cut(name, ".")
		switch {
		case listed[name]:
			used[name] = true
		case listed[typ+".*"]:
			used[typ+".*"] = true
		default:
			t.Errorf("%s: %s is not listed in %s/doc.go", where, name, dir)
		}
	}
	for name := range listed {
		if !used[name] {
			t.Errorf("%s/doc.go lists %s, which is not there", dir, name)
		}
	}
}

// comments returns the text of all comments of a file: of doc.go, what is for users and what is for
// readers of the code.
func comments(file *ast.File) string {
	var all strings.Builder
	for _, c := range file.Comments {
		all.WriteString(c.Text() + "\n")
	}
	return all.String()
}

// listing returns the names that the section lists.
func listing(doc string) map[string]bool {
	listed := make(map[string]bool)
	_, section, _ := strings.Cut(doc, "# Crossings\n")
	section, _, _ = strings.Cut(section, "\n# ")
	for line := range strings.Lines(section) {
		names, _, ok := strings.Cut(strings.TrimPrefix(line, "\t"), "  ")
		if !ok || !strings.HasPrefix(line, "\t") {
			continue
		}
		typ, _, _ := strings.Cut(names, ".")
		for i, name := range strings.Split(names, ", ") {
			if i > 0 {
				name = typ + "." + name
			}
			listed[name] = true
		}
	}
	return listed
}

// fields notes the fields, named types and variables of a file that something crosses by.
func (c *crossings) fields(set *token.FileSet, file *ast.File) {
	note := func(name string, typ ast.Expr) {
		if p, ok := typ.(*ast.StarExpr); ok && mentions(p, "ringbuf.Word") || name == "_" {
			return // it points to what is listed as another's
		}
		_, channel := typ.(*ast.ChanType)
		if channel {
			c.chans[name[strings.Index(name, ".")+1:]] = true
		}
		if channel || mentions(typ, crossing...) {
			c.found[name] = set.Position(typ.Pos()).String()
		}
	}
	structs(file, func(typ, field string, of ast.Expr) {
		if _, function := of.(*ast.FuncType); !function && typ != "Config" {
			note(typ+"."+field, of)
		}
	})
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if a, ok := s.Type.(*ast.ArrayType); ok {
					note(s.Name.Name, a)
				}
			case *ast.ValueSpec:
				if s.Type != nil && g.Tok == token.VAR {
					note(s.Names[0].Name, s.Type)
				}
			}
		}
	}
}

// statements notes the go statements of a file and, if asked for, the channels that no field holds.
func (c *crossings) statements(set *token.FileSet, file *ast.File, channels bool) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				c.found["go "+text(c.t, n.Call.Fun)] = set.Position(n.Pos()).String()
			case *ast.KeyValueExpr:
				return !makesChannel(n.Value) || !c.chans[text(c.t, n.Key)]
			case *ast.AssignStmt:
				for i, x := range n.Rhs {
					to := text(c.t, n.Lhs[min(i, len(n.Lhs)-1)])
					if channels && makesChannel(x) && !c.chans[to[strings.LastIndex(to, ".")+1:]] {
						c.found[f.Name.Name+"."+to] = set.Position(x.Pos()).String()
					}
				}
				return !hasChannel(n)
			case *ast.CallExpr:
				if channels && makesChannel(n) {
					c.t.Errorf("%s: a channel without a name", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// makesChannel reports whether an expression makes a channel.
func makesChannel(x ast.Expr) bool {
	call, ok := x.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	name, ok := call.Fun.(*ast.Ident)
	_, channel := call.Args[0].(*ast.ChanType)
	return ok && channel && name.Name == "make"
}

// hasChannel reports whether an assignment's right side is a channel that is made.
func hasChannel(a *ast.AssignStmt) bool {
	for _, x := range a.Rhs {
		if makesChannel(x) {
			return true
		}
	}
	return false
}

// text returns an expression as it is written.
func text(t *testing.T, x ast.Expr) string {
	var b bytes.Buffer
	if err := format.Node(&b, token.NewFileSet(), x); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The functions that doc.go names on the way from a datagram to a verdict are in the files that it names.
func TestReadersPath(t *testing.T) {
	found, doc := make(map[string]bool), ""
	ofEngine(t, func(name string, _ *token.FileSet, file *ast.File) {
		if name == "doc.go" {
			doc = comments(file)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				found[f.Name.Name+" "+name] = true
			}
		}
	})
	_, section, _ := strings.Cut(doc, "# From a datagram to a verdict\n")
	section, _, _ = strings.Cut(section, "\n# ")
	functions, files := 0, make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^\t(\w+(?:, \w+)*) +((?:\w+\.go(?:, )?)+)`).FindAllStringSubmatch(section, -1) {
		in := strings.Split(strings.TrimSuffix(line[2], ", "), ", ")
		for i, function := range strings.Split(line[1], ", ") {
			file := in[min(i, len(in)-1)]
			functions, files[file] = functions+1, true
			if !found[function+" "+file] {
				t.Errorf("doc.go names %s in %s, which is not there", function, file)
			}
		}
	}
	if functions == 0 || functions > 15 || len(files) > 6 {
		t.Errorf("%d functions in %d files; at most 15 in 6", functions, len(files))
	}
}
