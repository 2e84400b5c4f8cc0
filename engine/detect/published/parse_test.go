package published

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine/detect"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]detect.Detector{
		"fixed:4.5": Fixed(4.5, 0), "chen:40ms": Chen(40*ms, 0, 0), "2w:1h": TwoWindow(time.Hour, 0, 0, 0),
		"oz:0.5": Oz(OzOptions{Decrease: 0.5}), "bertier:100": Bertier(BertierOptions{Phi: 100}), "phi:1e1": PhiNormal(PhiNormalOptions{Threshold: 10}),
		"phi-exp:0.1": PhiExponential(PhiExponentialOptions{Threshold: 0.1}), "margin:876000h": detect.Margin(detect.MarginOptions{MistakeEvery: 100 * 365 * 24 * time.Hour}),
	} {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// Parse accepts the name of every detector, and returns it with its defaults.
func TestParseNames(t *testing.T) {
	var seen []string
	for _, d := range all() {
		if slices.Contains(seen, d.Name()) {
			continue // in another form
		}
		seen = append(seen, d.Name())
		if got, err := Parse(d.Name()); err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("%s: %+v, %v", d.Name(), got, err)
		}
	}
	names := Names()
	if slices.Sort(seen); !slices.Equal(seen, slices.Sorted(slices.Values(names))) {
		t.Errorf("Names are %q, want %q", names, seen)
	}
	if d := names[len(names)-1]; d != detect.Margin(detect.MarginOptions{}).Name() {
		t.Errorf("the last name is %s, not the default's", d)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, name := range Names() {
		for _, param := range []string{"", "0", "-1", "NaN", "Inf", "-Inf", "1e999", "1e300", "many", "1x", "0s", "-5ms", "1e9h", "999999h", ":", "3:4", " 3"} {
			text := name + ":" + param
			if d, err := Parse(text); d != nil || errors.Is(err, errUnknown) ||
				!strings.Contains(err.Error(), `detector "`+text+`": detect: `) {
				t.Errorf("%s: %+v, %v", text, d, err)
			}
		}
	}
	for text, want := range map[string]string{
		"": "want one of fixed, chen, 2w, oz, bertier, phi, phi-exp, margin", "tea-leaves": "want one of", "Fixed": "want one of", ":3": "want one of",
		"fixed:0.5": "Fixed.Multiplier 0.5 is not within 1 to 1000", "fixed:1001": "1 to 1000", "chen:40": "with its unit", "chen:61m": "0 to 1h",
		"oz:1": "Oz.Decrease", "oz:0.4": "Oz.Decrease", "bertier:101": "Bertier.Phi", "phi:300": "PhiNormal.Threshold", "phi-exp:0.01": "PhiExponential.Threshold",
		"margin:999ms": "Margin.MistakeEvery", "margin:24": "with its unit", "phi:8s": "a number above 0",
	} {
		d, err := Parse(text)
		if d != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", text, d, err, want)
		}
		if unknown := strings.HasPrefix(want, "want one of"); errors.Is(err, errUnknown) != unknown {
			t.Errorf("%q: %v", text, err)
		}
	}
}
