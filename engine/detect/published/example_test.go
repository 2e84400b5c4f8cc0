package published_test

import (
	"fmt"

	"systole/engine"
	"systole/engine/detect/published"
)

// A detector from a flag, in place of the default. Config.Validate reports parameters out of range.
func Example() {
	d, err := published.Parse("phi:8")
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := engine.Config{Detector: d}
	fmt.Println(d.Name(), cfg.Validate())
	cfg.Detector = published.Fixed(0.5, 0)
	fmt.Println(cfg.Validate())
	_, err = published.Parse("tea-leaves")
	fmt.Println(err)
	// Output:
	// phi <nil>
	// engine: Detector: detect: Fixed.Multiplier 0.5 is not within 1 to 1000
	// detector "tea-leaves": detect: want one of fixed, chen, 2w, oz, bertier, phi, phi-exp, margin
}
