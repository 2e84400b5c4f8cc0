package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"systole/engine"
)

// parseLevels returns the levels that --level asks for; none is no level.
func parseLevels(flags []string) (engine.Levels, error) {
	var l engine.Levels
	for _, text := range flags {
		level, err := parseLevel(text)
		if err != nil {
			return l, fmt.Errorf("--level %q: want NAME=RAISE[:CLEAR[:STAY]], for instance late=1:0.5:2s: %w", text, err)
		}
		l.List = append(l.List, level)
	}
	if len(l.List) == 0 {
		return l, nil
	}
	if err := l.Validate(); err != nil {
		return l, fmt.Errorf("--level: %w", err)
	}
	return l, nil
}

// parseLevel parses one level.
func parseLevel(text string) (level engine.Level, err error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		return level, errors.New("there is no =")
	}
	level.Name = name
	parts := strings.Split(rest, ":")
	if len(parts) > 3 {
		return level, errors.New("there are more than three parts")
	}
	if level.Raise, err = strconv.ParseFloat(parts[0], 64); err != nil {
		return level, err
	}
	if len(parts) > 1 {
		if level.Clear, err = strconv.ParseFloat(parts[1], 64); err != nil {
			return level, err
		}
	}
	if len(parts) > 2 {
		level.Stay, err = time.ParseDuration(parts[2])
	}
	return level, err
}

// interpret returns the changes of level until ctx ends; nil if there are no levels.
func interpret(ctx context.Context, e *engine.Engine, levels engine.Levels) <-chan engine.LevelEvent {
	if len(levels.List) == 0 {
		return nil
	}
	levels.Parallel = 1 // so that lines come in the order of the changes
	changes := make(chan engine.LevelEvent)
	go func() {
		// It ends with ctx or the engine; the levels are valid.
		_ = e.Interpret(ctx, levels, func(ctx context.Context, ev engine.LevelEvent) {
			select {
			case changes <- ev:
			case <-ctx.Done():
			}
		})
	}()
	return changes
}

// jsonLevel is one change of level.
type jsonLevel struct {
	jsonChange
	FromRank  int     `json:"from_rank"`
	ToRank    int     `json:"to_rank"`
	State     string  `json:"state"`
	Cause     string  `json:"cause"`
	Suspicion float64 `json:"suspicion"`
	SilenceNS int64   `json:"silence_ns"`
	Merged    int     `json:"merged,omitempty"`
}

func (p *jsonPrinter) level(w *watch, ev *engine.LevelEvent) {
	if p.quiet {
		return
	}
	p.print(jsonLevel{
		jsonChange: newChange("level", w, ev.Peer, ev.ID, ev.Incarnation, ev.FromName, ev.ToName),
		FromRank:   ev.From, ToRank: ev.To, State: ev.State.String(), Cause: ev.Cause.String(),
		Suspicion: ev.Suspicion, SilenceNS: int64(ev.Silence), Merged: ev.Merged,
	})
}

func (p *textPrinter) level(w *watch, ev *engine.LevelEvent) {
	if p.quiet {
		return
	}
	levelName := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	fmt.Fprintf(p.out, "%s %s: level %s → %s; %s, silent %v, suspicion %.2f\n", time.Now().Format("15:04:05.000"),
		w.label(ev.Peer), levelName(ev.FromName), levelName(ev.ToName), p.paint(ev.State, ev.State.String()), round(ev.Silence), ev.Suspicion)
}
