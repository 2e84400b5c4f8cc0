package enginetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Scenarios are JSON as people write it: fields in lower case with underscores, durations
// with their unit ("10ms"), what is left out is zero. Unknown fields are refused. Fields are
// found by reflection, so that a structure and its file cannot disagree.

var durationType = reflect.TypeFor[time.Duration]()

// decoding collects the faults of a file, each with the path to it.
type decoding struct{ faults []error }

func (d *decoding) bad(path, format string, args ...any) {
	field := cmp.Or(strings.TrimPrefix(path, "."), "scenario")
	d.faults = append(d.faults, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

// value reads data into v.
func (d *decoding) value(data json.RawMessage, v reflect.Value, path string) {
	switch {
	case v.Type() == durationType:
		d.duration(data, v, path)
	case v.Kind() == reflect.Struct:
		d.object(data, v, path)
	case v.Kind() == reflect.Slice:
		var items []json.RawMessage
		if json.Unmarshal(data, &items) != nil {
			d.bad(path, "want a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i, item := range items {
			d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
			d.bad(path, "want %s, not %s", wanted(v.Kind()), data)
		}
	}
}

// wanted names what a field of kind k takes.
func wanted(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "text in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Uint64:
		return "a whole number, not negative"
	}
	return "a whole number"
}

// duration reads a duration with its unit.
func (d *decoding) duration(data json.RawMessage, v reflect.Value, path string) {
	var text string
	if json.Unmarshal(data, &text) != nil {
		d.bad(path, "want a duration with its unit, for instance \"10ms\", not %s", data)
		return
	}
	t, err := time.ParseDuration(text)
	if err != nil {
		d.bad(path, "%q is no duration; write for instance \"10ms\"", text)
	}
	v.SetInt(int64(t))
}

// object reads an object, and refuses what v has no field for.
func (d *decoding) object(data json.RawMessage, v reflect.Value, path string) {
	members, ok := d.members(data, path)
	if !ok {
		d.bad(path, "want an object in braces")
		return
	}
	var names []string
	for name, field := range fieldsOf(v) {
		names = append(names, name)
		if m, ok := members[name]; ok {
			d.value(m, field, path+"."+name)
			delete(members, name)
		}
	}
	unknown := make([]string, 0, len(members))
	for name := range members {
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		d.bad(path+"."+name, "no such field; there are %s", strings.Join(names, ", "))
	}
}

// members returns the members of an object by name; ok is false if data is none. encoding/json
// would take the last of those with one name, in silence.
func (d *decoding) members(data json.RawMessage, path string) (members map[string]json.RawMessage, ok bool) {
	r := json.NewDecoder(bytes.NewReader(data))
	if t, err := r.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	members = make(map[string]json.RawMessage)
	for r.More() {
		name, err := r.Token()
		if err != nil {
			return nil, false
		}
		var m json.RawMessage
		if err := r.Decode(&m); err != nil {
			return nil, false
		}
		key, _ := name.(string)
		if _, twice := members[key]; twice {
			d.bad(path+"."+key, "is there twice")
		}
		members[key] = m
	}
	return members, true
}

// fieldsOf returns the fields of a structure by their names in a file. Those of a structure that is embedded
// are among them.
func fieldsOf(v reflect.Value) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		for _, f := range reflect.VisibleFields(v.Type()) {
			if !f.Anonymous && !yield(fieldName(f.Name), v.FieldByIndex(f.Index)) {
				return
			}
		}
	}
}

// fieldName returns the name in a file of the field called name: ReorderBy is reorder_by.
func fieldName(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && unicode.IsLower(runes[i-1]) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// ParseScenario reads a scenario as JSON. It returns all faults at once, joined; if data is no
// JSON, it returns the first, with its line and column.
func ParseScenario(data []byte) (*Scenario, error) {
	if err := noJSON(data); err != nil {
		return nil, err
	}
	s, d := &Scenario{}, &decoding{}
	d.value(data, reflect.ValueOf(s).Elem(), "")
	if err := errors.Join(d.faults...); err != nil {
		return nil, err
	}
	return s, reported(s.validate)
}

// noJSON returns where and why data is no JSON.
func noJSON(data []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	var at *json.SyntaxError
	if !errors.As(err, &at) {
		return err
	}
	before := data[:max(at.Offset-1, 0)] // the offset is that behind what is wrong
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("scenario: line %d, column %d: %w", line, column, err)
}

// JSON returns the scenario as ParseScenario reads it. It panics if a figure is infinite or NaN,
// which ParseScenario refuses.
func (s *Scenario) JSON() []byte {
	var b bytes.Buffer
	encode(&b, reflect.ValueOf(s).Elem())
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		panic(fmt.Sprintf("enginetest: wrote bad JSON: %v", err))
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// encode writes v.
func encode(b *bytes.Buffer, v reflect.Value) {
	switch {
	case v.Type() == durationType:
		fmt.Fprintf(b, "%q", time.Duration(v.Int()))
	case v.Kind() == reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			separate(b, i)
			encode(b, v.Index(i))
		}
		b.WriteByte(']')
	case v.Kind() == reflect.Struct:
		b.WriteByte('{')
		written := 0
		for name, f := range fieldsOf(v) {
			if !f.IsZero() && (f.Kind() != reflect.Slice || f.Len() > 0) {
				separate(b, written)
				fmt.Fprintf(b, "%q:", name)
				encode(b, f)
				written++
			}
		}
		b.WriteByte('}')
	default:
		text, err := json.Marshal(v.Interface())
		if err != nil {
			panic(fmt.Sprintf("enginetest: %v", err)) // numbers that validate refuses
		}
		b.Write(text)
	}
}

// separate writes a comma before all but the first.
func separate(b *bytes.Buffer, i int) {
	if i > 0 {
		b.WriteByte(',')
	}
}
