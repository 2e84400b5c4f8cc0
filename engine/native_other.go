//go:build !linux

package engine

// interfaces is nothing here: package portable looks at the interfaces.
type interfaces struct{}

func (*interfaces) close() {}

func (e *Engine) watchInterfaces() {}

func (e *Engine) openNative() error { return e.openPortable() }
