// Package level lets a program react to the suspicion of peers in steps: at one level a peer gets no
// new work, at the next its work goes elsewhere, at the last its successor takes over.
//
//	err := level.Run(ctx, e, level.List{
//		{Name: "late", Raise: 1, Clear: 0.5, Stay: time.Second, Enter: stopSendingWork, Leave: sendWorkAgain},
//		{Name: "dead", Raise: level.MistakeEvery(30*24*time.Hour, period), Enter: failOver},
//	}, nil)
//
// An engine judges two levels itself, engine.Suspect and engine.Failed. Any others are a
// subscriber's own, and several subscribers of one engine may have different ones. An [Interpreter]
// follows them off the engine's loops, by the summaries that the loops publish. A level at or above
// the suspicion of one of those states is entered only with the state, so what excuses a peer from
// the state excuses it from the level. A failed peer is at the top level; one that left or was
// removed, or a new incarnation, is at none.
//
// [Run] is an Interpreter with goroutines, which call functions for the changes of level.
// [List.Judge] is the rule alone: it judges one [engine.Summary], which may have come from another
// process as JSON.
//
// # Crossings
//
// What goes from one goroutine to another, and nothing else does. A test of package engine holds this
// list against the code.
//
//	go a.run            at most Options.Parallel per Run: calls functions
//	actions.mu, quiet   the calls that wait; that no call runs any more
//
// Of package engine this package uses the public API alone, so a program can have an interpreter of its own:
// see [engine.Peer.Summary], [engine.Peer.Poll] and [engine.LoopPauses].
package level
