package engine_test

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// part is a struct that is a part of a peer: its fields, and which of them change by their methods.
type part struct {
	fields  map[string]bool
	mutable map[string]bool
}

// readers are the methods of mutable fields that change nothing.
var readers = map[string]bool{"Get": true, "Load": true, "Highest": true}

// ofEngine visits the files of package engine itself, without tests.
func ofEngine(t *testing.T, visit func(name string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	ofPackage(t, "../engine", visit)
}

// ofPackage calls visit with each file of a directory that is no test.
func ofPackage(t *testing.T, dir string, visit func(name string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	sources(t, func(path, _ string, set *token.FileSet, file *ast.File) {
		if in, name := filepath.Split(path); filepath.Clean(in) == dir && !strings.HasSuffix(name, "_test.go") {
			visit(name, set, file)
		}
	})
}

// structs calls f for each field of each struct type that a file declares.
func structs(file *ast.File, f func(typ, field string, of ast.Expr)) {
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			if typ, ok := spec.(*ast.TypeSpec); ok {
				if s, ok := typ.Type.(*ast.StructType); ok {
					eachField(s, func(field string, of ast.Expr) { f(typ.Name.Name, field, of) })
				}
			}
		}
	}
}

// eachField calls f for each named field of a struct.
func eachField(s *ast.StructType, f func(field string, of ast.Expr)) {
	for _, field := range s.Fields.List {
		for _, name := range field.Names {
			f(name.Name, field.Type)
		}
	}
}

// mentions reports whether a type is, or is made of, one of the named types of other packages.
func mentions(typ ast.Expr, names ...string) bool {
	found := false
	ast.Inspect(typ, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				for _, name := range names {
					found = found || x.Name+"."+s.Sel.Name == name || x.Name+"." == name
				}
			}
		}
		return true
	})
	return found
}

// Each part of a peer is changed by its own file alone: no other one assigns a field, takes its
// address or calls a method that changes it. No part is assigned as a whole.
func TestPartsHaveOneWriter(t *testing.T) {
	parts := make(map[string]*part)
	ofEngine(t, func(_ string, _ *token.FileSet, file *ast.File) {
		structs(file, func(typ, field string, _ ast.Expr) {
			if typ == "peer" {
				parts[field] = &part{fields: make(map[string]bool), mutable: make(map[string]bool)}
			}
		})
	})
	ofEngine(t, func(name string, _ *token.FileSet, file *ast.File) {
		structs(file, func(typ, field string, of ast.Expr) {
			p := parts[typ]
			if p == nil {
				return
			}
			if name != "peer_"+typ+".go" {
				t.Errorf("%s is declared in %s", typ, name)
			}
			p.fields[field] = true
			p.mutable[field] = mentions(of, "ringbuf.Word", "antireplay.Window")
		})
	})
	if len(parts) < 7 || len(parts["deadline"].fields) < 10 {
		t.Fatalf("only %d parts were found", len(parts))
	}
	ofEngine(t, func(name string, set *token.FileSet, file *ast.File) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				w := writes{parts: parts, own: strings.TrimSuffix(strings.TrimPrefix(name, "peer_"), ".go"), alias: make(map[string]string)}
				w.aliases(f)
				ast.Inspect(f.Body, func(n ast.Node) bool {
					if what := w.of(n); what != "" {
						t.Errorf("%s: %s writes %s", set.Position(n.Pos()), f.Name.Name, what)
					}
					return true
				})
			}
		}
	})
}

// writes finds what a function writes of parts that are not of its file.
type writes struct {
	parts map[string]*part
	own   string
	alias map[string]string // of variables that point to a part
}

// aliases notes the receiver, the parameters and the variables of f that point to a part.
func (w *writes) aliases(f *ast.FuncDecl) {
	lists := []*ast.FieldList{f.Type.Params}
	if f.Recv != nil {
		lists = append(lists, f.Recv)
	}
	for _, l := range lists {
		for _, p := range l.List {
			if star, ok := p.Type.(*ast.StarExpr); ok {
				if typ, ok := star.X.(*ast.Ident); ok && w.parts[typ.Name] != nil {
					for _, name := range p.Names {
						w.alias[name.Name] = typ.Name
					}
				}
			}
		}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Lhs) != len(a.Rhs) {
			return true
		}
		for i := range a.Lhs {
			u, address := a.Rhs[i].(*ast.UnaryExpr)
			name, ident := a.Lhs[i].(*ast.Ident)
			if address && ident && u.Op == token.AND {
				if s, ok := u.X.(*ast.SelectorExpr); ok && w.parts[s.Sel.Name] != nil {
					w.alias[name.Name] = s.Sel.Name
				}
			}
		}
		return true
	})
}

// field returns the part and the field of it that an expression is or lies in.
func (w *writes) field(x ast.Expr) (name, field string) {
	for {
		switch e := x.(type) {
		case *ast.IndexExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.ParenExpr:
			x = e.X
		case *ast.SelectorExpr:
			if name = w.part(e.X); name != "" && w.parts[name].fields[e.Sel.Name] {
				return name, e.Sel.Name
			}
			x = e.X
		default:
			return "", ""
		}
	}
}

// part returns which part an expression is, "" if none.
func (w *writes) part(x ast.Expr) string {
	switch e := x.(type) {
	case *ast.SelectorExpr:
		if w.parts[e.Sel.Name] != nil {
			return e.Sel.Name
		}
	case *ast.Ident:
		return w.alias[e.Name]
	}
	return ""
}

// whole returns the part that an expression is as a whole, "" if none: its published words would
// be written as if nobody read them.
func (w *writes) whole(x ast.Expr) string {
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	} else if _, ok := x.(*ast.SelectorExpr); !ok {
		return "" // a variable that points to it
	}
	return w.part(x)
}

// of names what a node writes, "" if nothing that is another file's.
func (w *writes) of(n ast.Node) string {
	var targets []ast.Expr
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			targets = n.Lhs
		}
	case *ast.IncDecStmt:
		targets = []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			targets = []ast.Expr{n.X}
			if w.part(n.X) != "" {
				return "" // an alias, followed by itself
			}
		}
	case *ast.CallExpr:
		s, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || readers[s.Sel.Name] {
			return ""
		}
		if name, field := w.field(s.X); name != "" && w.parts[name].mutable[field] {
			targets = []ast.Expr{s.X}
		}
	}
	for _, x := range targets {
		if name := w.whole(x); name != "" {
			return name + " as a whole"
		}
		if name, field := w.field(x); name != "" && name != w.own {
			return name + "." + field
		}
	}
	return ""
}
