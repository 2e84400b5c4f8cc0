package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"systole/engine"
	"systole/engine/level"
)

// parseLevels returns the levels of the flags --level, in their order.
func parseLevels(flags []string) (level.List, error) {
	var l level.List
	for _, text := range flags {
		t, err := parseLevel(text)
		if err != nil {
			return l, fmt.Errorf("--level %q: want NAME=RAISE[:CLEAR[:STAY]], for instance late=1:0.5:2s: %w", text, err)
		}
		l = append(l, t)
	}
	if len(l) == 0 {
		return nil, nil
	}
	if err := l.Validate(); err != nil {
		return l, fmt.Errorf("--level: %w", err)
	}
	return l, nil
}

// parseLevel parses one level.
func parseLevel(text string) (t level.Threshold, err error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		return t, errors.New("no =")
	}
	t.Name = name
	parts := strings.Split(rest, ":")
	if len(parts) > 3 {
		return t, errors.New("more than three parts")
	}
	if t.Raise, err = strconv.ParseFloat(parts[0], 64); err != nil {
		return t, err
	}
	if len(parts) > 1 {
		if t.Clear, err = strconv.ParseFloat(parts[1], 64); err != nil {
			return t, err
		}
	}
	if len(parts) > 2 {
		t.Stay, err = time.ParseDuration(parts[2])
	}
	return t, err
}

// interpret returns a channel of the changes of level until ctx ends, nil if there are no levels.
func interpret(ctx context.Context, e *engine.Engine, levels level.List) <-chan level.Event {
	if len(levels) == 0 {
		return nil
	}
	changes := make(chan level.Event)
	send := func(ctx context.Context, ev level.Event) {
		select {
		case changes <- ev:
		case <-ctx.Done():
		}
	}
	go func() {
		// Run ends with ctx or the engine, and the levels are valid, so its error has no news. One
		// action at a time keeps the order of changes.
		_ = level.Run(ctx, e, levels, &level.Options{Action: send, Parallel: 1})
	}()
	return changes
}

// jsonLevel is a change of level.
type jsonLevel struct {
	jsonChange
	FromRank  int     `json:"from_rank"`
	ToRank    int     `json:"to_rank"`
	State     string  `json:"state"`
	Cause     string  `json:"cause"`
	Suspicion float64 `json:"suspicion"`
	SilenceNS int64   `json:"silence_ns,omitempty"`
	Merged    int     `json:"merged,omitempty"`
}

func (p *jsonPrinter) level(w *watch, ev *level.Event) {
	if p.quiet {
		return
	}
	p.print(jsonLevel{
		jsonChange: newChange("level", w, ev.Peer, ev.ID, ev.Incarnation, ev.FromName, ev.ToName),
		FromRank:   ev.From, ToRank: ev.To, State: ev.State.String(), Cause: ev.Cause.String(),
		Suspicion: ev.Suspicion, SilenceNS: int64(ev.Silence), Merged: ev.Merged,
	})
}

func (p *textPrinter) level(w *watch, ev *level.Event) {
	if p.quiet {
		return
	}
	levelName := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	fmt.Fprintf(p.out, "%s %s: level %s → %s; %s, silent %v, suspicion %.2f\n", clockTime(),
		w.label(ev.Peer), levelName(ev.FromName), levelName(ev.ToName), p.paint(ev.State, ev.State.String()), round(ev.Silence), ev.Suspicion)
}
