package engine_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// surfaces has every package that programs may import, with how many names it may export: package-level
// names, and methods of exported types. A change that exports more must say so here.
var surfaces = map[string]int{
	"bpf":                        26,
	"engine":                     171,
	"engine/clock":               16,
	"engine/detect":              20,
	"engine/detect/published":    13,
	"engine/enginetest":          52,
	"engine/enginetest/load":     6,
	"engine/enginetest/netlab":   16,
	"engine/enginetest/netmodel": 8,
	"engine/histogram":           13,
	"engine/level":               16,
	"engine/recording":           16,
	"engine/replay":              4,
	"engine/split":               14,
	"ringbuf":                    18,
	"wire":                       59,
}

// maxSurface bounds the sum of surfaces.
const maxSurface = 468

// surface is what a package exports.
type surface struct {
	names  map[string]bool // "Name" and "Type.Method"; a set, since files for several systems repeat names
	fields map[string]bool // "Type.Field", and "Type.Method" of interfaces
}

// No package exports more names than surfaces says. Fields of structs and methods of interfaces are counted
// apart, without a bound.
func TestSurface(t *testing.T) {
	packages := make(map[string]*surface)
	sources(t, func(path, _ string, _ *token.FileSet, file *ast.File) {
		if dir := filepath.ToSlash(filepath.Dir(path)); importable(dir, file) && !strings.HasSuffix(path, "_test.go") {
			dir = strings.TrimPrefix(dir, "../")
			if packages[dir] == nil {
				packages[dir] = &surface{make(map[string]bool), make(map[string]bool)}
			}
			packages[dir].add(file)
		}
	})
	names, fields := 0, 0
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		p := packages[dir]
		names, fields = names+len(p.names), fields+len(p.fields)
		t.Logf("%4d names %4d fields  %s", len(p.names), len(p.fields), dir)
		if most, ok := surfaces[dir]; !ok || len(p.names) > most {
			t.Errorf("%s exports %d names, and may export %d: %v", dir, len(p.names), most, slices.Sorted(maps.Keys(p.names)))
		}
	}
	t.Logf("%4d names %4d fields  in all", names, fields)
	for dir := range surfaces {
		if packages[dir] == nil {
			t.Errorf("there is no package %s", dir)
		}
	}
	if names > maxSurface {
		t.Errorf("the module exports %d names, and may export %d", names, maxSurface)
	}
}

// importable reports whether programs may import the package of a file in dir.
func importable(dir string, file *ast.File) bool {
	parts := strings.Split(strings.TrimPrefix(dir, "../"), "/")
	return file.Name.Name != "main" && !slices.Contains(parts, "internal") && !slices.Contains([]string{"cmd", "bench", "fuzz"}, parts[0])
}

// add adds what a file exports.
func (s *surface) add(file *ast.File) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			s.addFunc(d)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s.addSpec(spec)
			}
		}
	}
}

// addFunc adds a function, or a method of an exported type.
func (s *surface) addFunc(d *ast.FuncDecl) {
	name := d.Name.Name
	if d.Recv != nil {
		receiver := baseOf(d.Recv.List[0].Type)
		if !ast.IsExported(receiver) {
			return
		}
		name = receiver + "." + name
	}
	if ast.IsExported(d.Name.Name) {
		s.names[name] = true
	}
}

// addSpec adds constants, variables, and a type with its fields.
func (s *surface) addSpec(spec ast.Spec) {
	switch v := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range v.Names {
			if n.IsExported() {
				s.names[n.Name] = true
			}
		}
	case *ast.TypeSpec:
		if !v.Name.IsExported() {
			return
		}
		s.names[v.Name.Name] = true
		switch u := v.Type.(type) {
		case *ast.StructType:
			s.addFields(v.Name.Name, u.Fields)
		case *ast.InterfaceType:
			s.addFields(v.Name.Name, u.Methods)
		}
	}
}

// addFields adds the exported ones of fields, and what is embedded under exported names.
func (s *surface) addFields(of string, fields *ast.FieldList) {
	for _, f := range fields.List {
		names := f.Names
		if len(names) == 0 {
			names = []*ast.Ident{ast.NewIdent(baseOf(f.Type))}
		}
		for _, n := range names {
			if n.IsExported() {
				s.fields[fmt.Sprintf("%s.%s", of, n.Name)] = true
			}
		}
	}
}

// baseOf returns the name of a type without pointers, parameters and package; "" for unions.
func baseOf(t ast.Expr) string {
	switch v := t.(type) {
	case *ast.StarExpr:
		return baseOf(v.X)
	case *ast.IndexExpr:
		return baseOf(v.X)
	case *ast.IndexListExpr:
		return baseOf(v.X)
	case *ast.SelectorExpr:
		return v.Sel.Name
	case *ast.Ident:
		return v.Name
	}
	return ""
}
