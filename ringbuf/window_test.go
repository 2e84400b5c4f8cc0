package ringbuf

import (
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A window holds the newest records.
func TestWindowIsTheLastRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Layout{Records: 1 << rapid.IntRange(0, 4).Draw(t, "records"), Words: rapid.IntRange(1, 5).Draw(t, "words")}
		mem := make([]Word, l.Size())
		var model [][]uint64
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				rec := make([]uint64, l.Words)
				for i := range rec {
					rec[i] = rapid.Uint64().Draw(t, "word")
				}
				l.Push(mem, rec)
				model = append(model, rec)
			},
			"reset": func(*rapid.T) {
				l.Reset(mem)
				model = nil
			},
			"": func(t *rapid.T) {
				ask := rapid.IntRange(0, l.Records+2).Draw(t, "ask")
				dst := make([]uint64, ask*l.Words)
				n, total := l.Snapshot(mem, dst)
				if total != uint64(len(model)) || l.Total(mem) != total {
					t.Fatalf("total %d, pushed %d", total, len(model))
				}
				if want := min(ask, l.Records, len(model)); n != want {
					t.Fatalf("%d records, want %d", n, want)
				}
				for k := range n {
					want := model[len(model)-n+k]
					for i, w := range want {
						if dst[k*l.Words+i] != w {
							t.Fatalf("record %d of %d is %v, want %v", k, n, dst[k*l.Words:(k+1)*l.Words], want)
						}
					}
				}
				last := make([]uint64, l.Words)
				if l.Last(mem, last) != (len(model) > 0) {
					t.Fatal("Last is wrong about whether there is a record")
				}
			},
		})
	})
}

// steps are the single loads and stores of a writer or a reader. A test interleaves those of both
// in every order.
type steps []func()

// writer returns the steps of Push, of a record whose words are all equal to value.
func writer(l Layout, mem []Word, value uint64) steps {
	n := value - 1
	out := steps{func() { mem[0].Set(n + 1) }}
	for i := range l.Words {
		out = append(out, func() { l.record(mem, n)[i].Set(value) })
	}
	return append(out, func() { mem[1].Set(n + 1) })
}

// reader returns the steps of Snapshot, and a check of its copy as the last step.
func reader(l Layout, mem []Word, t *testing.T) steps {
	var total, first, want uint64
	dst := make([]uint64, l.Records*l.Words)
	out := steps{func() {
		total = mem[1].Load()
		want = min(uint64(l.Records), total)
		first = total - want
	}}
	for k := range l.Records {
		for i := range l.Words {
			out = append(out, func() {
				if uint64(k) < want {
					dst[k*l.Words+i] = l.record(mem, first+uint64(k))[i].Load()
				}
			})
		}
	}
	return append(out, func() {
		torn := uint64(0)
		if claimed := mem[0].Load(); claimed > first+uint64(l.Records) {
			torn = min(claimed-uint64(l.Records)-first, want)
		}
		for k := torn; k < want; k++ {
			for i := range l.Words {
				if got := dst[int(k)*l.Words+i]; got != first+k+1 {
					t.Errorf("record %d has word %d", first+k+1, got)
				}
			}
		}
	})
}

// No record is torn in any order of the steps of a reader and of a writer that wraps around the
// window.
func TestWindowInEveryOrder(t *testing.T) {
	l := Layout{Records: 2, Words: 2}
	const pushes = 4
	readerSteps := len(reader(l, make([]Word, l.Size()), t))
	writerSteps := pushes * len(writer(l, make([]Word, l.Size()), 1))
	orders := 0
	// Reader step i happens after at[i] writer steps, at[0] ≤ at[1] ≤ ...
	at := make([]int, readerSteps)
	var order func(i, from int)
	order = func(i, from int) {
		if i == readerSteps {
			orders++
			interleave(t, l, at, pushes)
			return
		}
		for at[i] = from; at[i] <= writerSteps; at[i]++ {
			order(i+1, at[i])
		}
	}
	order(0, 0)
	if orders < 10_000 {
		t.Errorf("only %d orders tried", orders)
	}
}

// interleave runs the steps in one order.
func interleave(t *testing.T, l Layout, at []int, pushes uint64) {
	t.Helper()
	mem := make([]Word, l.Size())
	var w steps
	for v := uint64(1); v <= pushes; v++ {
		w = append(w, writer(l, mem, v)...)
	}
	done := 0
	for i, step := range reader(l, mem, t) {
		for ; done < at[i]; done++ {
			w[done]()
		}
		step()
	}
}

// Readers beside a writer see whole records in order, and totals that do not decrease.
func TestWindowUnderLoad(t *testing.T) {
	l := Layout{Records: 8, Words: 4}
	mem := make([]Word, l.Size())
	const pushes = 200_000
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			dst := make([]uint64, l.Records*l.Words)
			before := uint64(0)
			for before < pushes {
				n, total := l.Snapshot(mem, dst)
				if total < before {
					t.Errorf("total went from %d to %d", before, total)
					return
				}
				before = total
				for k := range n {
					rec := dst[k*l.Words : (k+1)*l.Words]
					if rec[1] != ^rec[0] || rec[2] != rec[0]*3 || rec[3] != rec[0]^7 {
						t.Errorf("torn: %v", rec)
						return
					}
					if k > 0 && rec[0] != dst[(k-1)*l.Words]+1 {
						t.Errorf("out of order: %v", dst[:n*l.Words])
						return
					}
				}
				runtime.Gosched()
			}
		})
	}
	for v := uint64(1); v <= pushes; v++ {
		l.Push(mem, []uint64{v, ^v, v * 3, v ^ 7})
		if v%64 == 0 {
			runtime.Gosched()
		}
	}
	group.Wait()
}

func TestWord(t *testing.T) {
	var w Word
	w.Set(5)
	w.Add(3)
	if w.Load() != 8 || w.Get() != 8 {
		t.Errorf("%d, %d", w.Load(), w.Get())
	}
}

func TestNoAllocs(t *testing.T) {
	l := Layout{Records: 8, Words: 4}
	mem, rec, dst := make([]Word, l.Size()), make([]uint64, 4), make([]uint64, 32)
	ring, err := NewMPSC[[4]uint64](64)
	if err != nil {
		t.Fatal(err)
	}
	batch := make([][4]uint64, 8)
	n := testing.AllocsPerRun(1000, func() {
		l.Push(mem, rec)
		l.Snapshot(mem, dst)
		l.Last(mem, dst)
		ring.TryPush([4]uint64{1})
		ring.PopBatch(batch)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
