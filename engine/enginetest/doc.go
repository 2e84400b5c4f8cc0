// Package enginetest runs engines, and the programs that link them, in a simulated world.
//
// A [World] is hosts, and links between them, in virtual time. Each [Host] has clocks of its own
// and one process at most: an engine that runs the very code that runs on sockets, and beside it
// the user's, as calls by time and by event. An hour passes in seconds, and one seed replays
// everything. A test does things to hosts and links, such as Crash, Stop and Cut, or any Fault with
// World.Do, and lets time pass with Run. Links delay, lose and reorder datagrams by the models of package netmodel.
// Hosts may have several addresses, of both families and on networks of their own, which move from
// host to host or are seen anew through a NAT; names point elsewhere, or fail; middleboxes and local
// firewalls refuse; and forgers write what no engine wrote.
//
// Rules must hold in every world, for instance that nobody is accused for a pause of the watcher's own:
// [Violation] has them all. Most are checked after every turn of an engine, told by Finish, which ends
// a test, healed and unmoved at the end of a Scenario. World.Violations tells what did not hold.
//
// A [Scenario] is a world, and what is done to it when, as data: ParseScenario reads it from
// JSON, Run runs it, and the command systole sim prints the events and violations. Search runs
// random scenarios by seed.
//
// Begin with the Example, a master and two workers of which one loses its power, then NewWorld and
// Host.Open. Package load generates the heartbeats of thousands of peers on one real socket.
package enginetest
