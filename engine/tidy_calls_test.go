package engine_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// notEveryTurn are functions at which the check of the hot path stops, and why a turn may call them: for
// what happens seldom, or in a way that never waits.
var notEveryTurn = map[string]string{
	"engine.shard.command":                      "callers add and remove peers, and the background goroutine asks",
	"engine.shard.introduced":                   "introductions are answered at a bounded rate; the book's lock is only tried",
	"engine.shard.addStranger":                  "admissions have a bounded rate",
	"engine.shard.forgetStranger":               "once per admission",
	"engine.shard.goHome":                       "once per move of a peer, when it fails or is replaced at home",
	"engine.sockets.SocketFor":                  "asks the routes when they have changed, or to try an address",
	"engine.sockets.Source":                     "per introduction, see network.Network",
	"engine.sockets.LinkDown":                   "before a verdict, while an interface is down",
	"engine.Engine.note":                        "per refusal, every 50 ms at most; the channel is not waited for",
	"engine.Engine.poke":                        "per transition of a named peer; the channel is not waited for",
	"engine.Subscription.signal":                "per transition; the channel is not waited for",
	"engine.Carrier.signal":                     "per turn that has a message; the channel is not waited for",
	"engine.slotSet.reserve":                    "allocates once per chunk of slots, when a reader's ring is full",
	"engine.shard.learn":                        "only tries its lock, once a second; fits are bounded",
	"engine/internal/portable.Sockets.LinkDown": "before a verdict; looks for the route while an interface is down",
	"engine/internal/portable.socket.renew":     "not on Linux: package net's deadlines are instants of the clock",
	"engine/internal/portable.signal":           "not on Linux: a reader that waits for room; the channel is not waited for",
	"engine/internal/udp.Waiter.Wake":           "another shard's, for a letter; its lock is held for a system call",
	"engine/internal/timer.Wheel.Grow":          "allocates once per chunk of timers",
	"ringbuf.MPSC[T].TryPush":                   "its loop ends when no other goroutine pushes at that instant",
	"wire.Append":                               "allocates only if the buffer has no room, and a batch's has",
	"engine/detect.marginDetector.Learn":        "a closure that does not escape",
	"engine.contexts.signal":                    "per transition, while there are contexts; the channel is not waited for",
}

// A turn calls nothing that the hot path must not do, in whatever file and package of the module it is,
// but for what notEveryTurn names. Calls by interfaces reach every implementation but the simulated ones.
func TestHotPathFollowsCalls(t *testing.T) {
	p := loadProgram(t)
	used := make(map[string]bool)
	seen := map[string]bool{}
	queue := []string{"(*systole/engine.shard).turn"}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		f, ok := p.functions[name]
		switch {
		case seen[name] || !ok: // seen, or outside of the module
			continue
		case notEveryTurn[short(name)] != "":
			used[short(name)] = true
			continue
		}
		seen[name] = true
		for _, what := range p.forbidden(f) {
			t.Errorf("%s, which a turn calls: %s", short(name), what)
		}
		queue = append(queue, p.calls(f)...)
	}
	if len(seen) < 200 {
		t.Errorf("only %d functions are reached", len(seen))
	}
	for name := range notEveryTurn {
		if !used[name] {
			t.Errorf("%s is excused, and no turn calls it", name)
		}
	}
}

// short returns a function's full name without the module's and without the pointer of its receiver.
func short(name string) string {
	return strings.NewReplacer("(*", "", ")", "", "systole/", "").Replace(name)
}

// program is the packages that the engine links of this module, type-checked together.
type program struct {
	set       *token.FileSet
	info      *types.Info
	functions map[string]*ast.FuncDecl // by types.Func.FullName
	named     []*types.Named           // types with methods
}

// loadProgram type-checks the engine and what it links.
func loadProgram(t *testing.T) *program {
	t.Helper()
	p := &program{
		set: token.NewFileSet(), functions: make(map[string]*ast.FuncDecl),
		info: &types.Info{
			Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object), Types: make(map[ast.Expr]types.TypeAndValue),
		},
	}
	checked, exports := make(map[string]*types.Package), make(map[string]string)
	gc := importer.ForCompiler(p.set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	imports := importFunc(func(path string) (*types.Package, error) {
		if pkg := checked[path]; pkg != nil {
			return pkg, nil
		}
		return gc.Import(path)
	})
	const format = `{{.ImportPath}}|{{.Export}}|{{.Dir}}|{{join .GoFiles ","}}`
	for _, line := range goList(t, "-deps", "-export", "-f", format, "systole/engine") {
		field := strings.Split(line, "|")
		path, dir := field[0], field[2]
		exports[path] = field[1]
		if !strings.HasPrefix(path, "systole/") {
			continue
		}
		var files []*ast.File
		for _, name := range strings.Split(field[3], ",") {
			file, err := parser.ParseFile(p.set, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		pkg, err := (&types.Config{Importer: imports}).Check(path, p.set, files, p.info)
		if err != nil {
			t.Fatal(err)
		}
		checked[path] = pkg
		p.enter(pkg, files)
	}
	return p
}

// importFunc is a types.Importer.
type importFunc func(path string) (*types.Package, error)

func (f importFunc) Import(path string) (*types.Package, error) { return f(path) }

// enter notes the functions and types of a package.
func (p *program) enter(pkg *types.Package, files []*ast.File) {
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				p.functions[p.info.Defs[f.Name].(*types.Func).FullName()] = f
			}
		}
	}
	for _, name := range pkg.Scope().Names() {
		if n, ok := pkg.Scope().Lookup(name).Type().(*types.Named); ok && n.NumMethods() > 0 {
			p.named = append(p.named, n)
		}
	}
}

// calls returns the names of the functions that a function calls, by the static types.
func (p *program) calls(f *ast.FuncDecl) []string {
	called := make(map[string]bool)
	ast.Inspect(f.Body, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		fn, ok := p.info.Uses[id].(*types.Func)
		if !ok {
			return true
		}
		fn = fn.Origin()
		if recv := fn.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
			for _, name := range p.implementations(recv.Type(), fn.Name()) {
				called[name] = true
			}
			return true
		}
		called[fn.FullName()] = true
		return true
	})
	return slices.Sorted(maps.Keys(called))
}

// implementations returns the methods by which types implement one of an interface.
func (p *program) implementations(of types.Type, method string) (names []string) {
	i := of.Underlying().(*types.Interface)
	for _, n := range p.named {
		if types.IsInterface(n) || !types.Implements(types.NewPointer(n), i) {
			continue
		}
		if m, _, _ := types.LookupFieldOrMethod(types.NewPointer(n), true, n.Obj().Pkg(), method); m != nil {
			names = append(names, m.(*types.Func).Origin().FullName())
		}
	}
	return names
}

// forbidden names what a function does that the hot path must not.
func (p *program) forbidden(f *ast.FuncDecl) (found []string) {
	at := func(n ast.Node, what string) {
		if what != "" {
			found = append(found, p.set.Position(n.Pos()).String()+": "+what)
		}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		at(n, forbidden(n))
		switch n := n.(type) {
		case *ast.FuncLit:
			at(n, "closure")
		case *ast.AssignStmt:
			for _, x := range n.Lhs {
				if i, ok := x.(*ast.IndexExpr); ok {
					if _, is := p.info.TypeOf(i.X).Underlying().(*types.Map); is {
						at(n, "map write")
					}
				}
			}
		case *ast.Ident:
			switch o := p.info.Uses[n].(type) {
			case *types.Builtin:
				if o.Name() == "make" || o.Name() == "new" || o.Name() == "delete" {
					at(n, o.Name())
				}
			case *types.Func:
				if o.Pkg() != nil && slices.Contains([]string{"fmt", "log", "log/slog", "sync", "sort", "os"}, o.Pkg().Path()) {
					at(n, o.FullName())
				}
			}
		}
		return true
	})
	return found
}
