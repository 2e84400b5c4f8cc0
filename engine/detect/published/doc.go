// Package published has failure detectors that follow their publications. They are baselines for the
// default of package detect, and detectors for engine.Config.Detector where a network is known to
// suit them.
//
// A constructor returns a detector with the parameters that its publication names; a parameter of 0
// means the default. Parameters out of their range are reported by engine.Config.Validate,
// and so by engine.Open. [Parse] makes detectors of the text of a flag, and reports them itself.
package published
