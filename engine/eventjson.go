package engine

import (
	"encoding/json"
	"time"

	"systole/engine/clock"
)

// jsonVersion is the version of the JSON form. Within it keys are added, never removed or changed.
const jsonVersion = 1

// jsonHead is the first keys of every object.
type jsonHead struct {
	V    int    `json:"v"`
	Type string `json:"type"`
	T    string `json:"t,omitempty"`
}

// jsonWho is the keys that say which peer an object is about.
type jsonWho struct {
	Peer        string `json:"peer"`
	Addr        string `json:"addr,omitempty"`
	Tag         string `json:"tag,omitempty"`
	ID          string `json:"id,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty,string"`
}

// json returns the keys of i.
func (i *identity) json(incarnation uint64) jsonWho {
	who := jsonWho{Peer: i.title(), Tag: i.tag, Incarnation: incarnation}
	if i.addr.IsValid() {
		who.Addr = i.addr.String()
	}
	if i.id != 0 {
		who.ID = idText(i.id)
	}
	return who
}

// jsonEvent is the JSON form of an Event.
type jsonEvent struct {
	jsonHead
	jsonWho
	From      State   `json:"from"`
	To        State   `json:"to"`
	Cause     Cause   `json:"cause"`
	Suspicion float32 `json:"suspicion,omitempty"`
	SilenceNS int64   `json:"silence_ns,omitempty"`
	LagNS     int64   `json:"lag_ns,omitempty"`
	Stamp     string  `json:"stamp,omitempty"`
	SenderNS  int64   `json:"sender_late_ns,omitempty"`
	SendNS    int64   `json:"send_wait_ns,omitempty"`
	NetworkNS int64   `json:"network_ns,omitempty"`
	HostNS    int64   `json:"host_ns,omitempty"`
	ReadNS    int64   `json:"read_ns,omitempty"`
	Slow      bool    `json:"slow,omitempty"`
	Merged    int     `json:"merged,omitempty"`
}

// MarshalJSON returns the event as an object of version 1 of the JSON form, which NodeEvent has as well.
// Keys are only added within a version. A key is absent if its value is not known or not measured, 0, false or
// empty. Keys that end in _ns are in nanoseconds. States and causes are their names.
//
//	v               1, the version
//	type            "event", or "node" for a NodeEvent
//	t               At by the wall clock: RFC 3339 with nanoseconds, in UTC
//	peer            the peer's name or, if it has none, its address, or "id" and its first digits
//	addr            Addr
//	tag             Tag
//	id              ID in 16 hexadecimal digits: a string, because it may exceed 2^53
//	incarnation     Incarnation in decimal digits, a string as well
//	from, to        states; equal if the event reports the present state
//	cause           Cause; "none" if the event reports the present state
//	suspicion       Suspicion
//	silence_ns      Silence
//	lag_ns          Lag
//	stamp           Delays.Source, of a peer that was heard: "user", "kernel", "nic" or "bpf"
//	sender_late_ns  Delays.Late
//	send_wait_ns    SendWait
//	network_ns      Delays.Network
//	host_ns         Delays.Host
//	read_ns         Delays.Read
//	slow            Slow
//	merged          Merged
//
// A NodeEvent has v, type, t, cause and merged, and by its cause:
//
//	pause_ns          Pause
//	id, incarnation   ID and Incarnation
//	others            two objects with peer, addr, tag, id and incarnation, for Others
func (ev Event) MarshalJSON() ([]byte, error) {
	is := ev.identity()
	line := jsonEvent{
		jsonHead: head("event", ev.Peer.engine, ev.At), jsonWho: is.json(ev.Incarnation),
		From: ev.From, To: ev.To, Cause: ev.Cause, Suspicion: float32(ev.Suspicion),
		SilenceNS: int64(ev.Silence), LagNS: int64(ev.Lag), SenderNS: int64(ev.Delays.Late),
		SendNS: int64(ev.SendWait), NetworkNS: int64(ev.Delays.Network), HostNS: int64(ev.Delays.Host),
		ReadNS: int64(ev.Delays.Read), Slow: ev.Slow, Merged: ev.Merged,
	}
	if ev.Silence > 0 {
		line.Stamp = ev.Delays.Source.String()
	}
	return json.Marshal(line)
}

// jsonNode is the JSON form of a NodeEvent.
type jsonNode struct {
	jsonHead
	Cause       NodeCause `json:"cause"`
	PauseNS     int64     `json:"pause_ns,omitempty"`
	ID          string    `json:"id,omitempty"`
	Incarnation uint64    `json:"incarnation,omitempty,string"`
	Others      []jsonWho `json:"others,omitempty"`
	Merged      int       `json:"merged,omitempty"`
}

// MarshalJSON returns the event as an object whose keys Event.MarshalJSON lists.
func (ev NodeEvent) MarshalJSON() ([]byte, error) {
	line := jsonNode{
		jsonHead: head("node", ev.engine, ev.At), Cause: ev.Cause, PauseNS: int64(ev.Pause),
		Incarnation: ev.Incarnation, Merged: ev.Merged,
	}
	if ev.ID != 0 {
		line.ID = idText(ev.ID)
	}
	for _, p := range ev.Others {
		if !p.IsZero() {
			s := p.Stats()
			is := identity{words{s.Name, s.Tag}, s.Addr, s.ID}
			line.Others = append(line.Others, is.json(s.Incarnation))
		}
	}
	return json.Marshal(line)
}

// head returns the first keys of an object about an instant of e's clock.
func head(kind string, e *Engine, at clock.Instant) jsonHead {
	h := jsonHead{V: jsonVersion, Type: kind}
	if at != 0 {
		h.T = e.wall(at).UTC().Format(time.RFC3339Nano)
	}
	return h
}

// wall returns an instant by the wall clock of e's host, which may be simulated. e may be nil.
func (e *Engine) wall(at clock.Instant) time.Time {
	if e == nil || e.cfg.world == nil {
		return at.Time()
	}
	now := e.reading()
	return time.Unix(0, now.Wall).Add(at.Sub(now.Now))
}
