package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The picture of a replay shows mistakes per hour against detection time. Both axes are
// logarithmic: the plot has logarithms, and the labels of the ticks are the values. A point without
// a mistake has no place on such an axis. It lies in a band below, where each detector has a row.

// point is the result of a detector with one parameter, over all peers.
type point struct {
	td       float64 // detection time, ms
	hours    float64 // observed
	mistakes int
	beats    int
	standard bool // param is the default
	param    string
}

// curve is a detector with all its parameters.
type curve struct {
	name   string
	points []point
}

// curves adds up the rows of all peers, in the order of detectors and parameters.
func curves(rows []replayed) []curve {
	var out []curve
	index := make(map[string]int)
	at := make(map[[2]string]int)
	for _, r := range rows {
		c, ok := index[r.Detector]
		if !ok {
			c = len(out)
			index[r.Detector] = c
			out = append(out, curve{name: r.Detector})
		}
		key := [2]string{r.Detector, r.Param}
		i, ok := at[key]
		if !ok {
			i = len(out[c].points)
			at[key] = i
			out[c].points = append(out[c].points, point{param: r.Param, standard: r.standard})
		}
		p := &out[c].points[i]
		p.td += r.TDMean * float64(r.Heartbeats)
		p.beats += r.Heartbeats
		p.hours += r.Hours
		p.mistakes += r.Mistakes
	}
	for _, c := range out {
		for i := range c.points {
			c.points[i].td /= float64(max(c.points[i].beats, 1))
		}
	}
	return out
}

// palette is Okabe and Ito's, which colour-blind people can distinguish. The default detector is
// black.
var palette = map[string]color.RGBA{
	"fixed": {0xe6, 0x9f, 0x00, 0xff}, "chen": {0x00, 0x72, 0xb2, 0xff}, "2w": {0x56, 0xb4, 0xe9, 0xff},
	"oz": {0xcc, 0x79, 0xa7, 0xff}, "bertier": {0xd5, 0x5e, 0x00, 0xff}, "phi": {0x00, 0x9e, 0x73, 0xff},
	"phi-exp": {0x99, 0x99, 0x33, 0xff}, "margin": {0x00, 0x00, 0x00, 0xff},
}

var grey = color.RGBA{0x80, 0x80, 0x80, 0xff}

// glyphs distinguish the detectors without colours. Points without a mistake are hollow.
var glyphs = map[string]struct{ full, hollow draw.GlyphDrawer }{
	"fixed": {draw.BoxGlyph{}, draw.SquareGlyph{}}, "chen": {draw.PyramidGlyph{}, draw.TriangleGlyph{}},
	"2w": {polygon{3, math.Pi, true}, polygon{3, math.Pi, false}}, "oz": {polygon{4, 0, true}, polygon{4, 0, false}},
	"bertier": {polygon{5, 0, true}, polygon{5, 0, false}}, "phi": {polygon{6, 0, true}, polygon{6, 0, false}},
	"phi-exp": {polygon{3, math.Pi / 2, true}, polygon{3, math.Pi / 2, false}}, "margin": {draw.CircleGlyph{}, draw.RingGlyph{}},
}

// polygon is a regular polygon. One corner is at the angle turned from the top.
type polygon struct {
	corners int
	turned  float64
	full    bool
}

// DrawGlyph implements draw.GlyphDrawer.
func (g polygon) DrawGlyph(c *draw.Canvas, style draw.GlyphStyle, at vg.Point) {
	var path vg.Path
	for i := range g.corners {
		angle := g.turned + 2*math.Pi*float64(i)/float64(g.corners)
		corner := vg.Point{X: at.X + style.Radius*vg.Length(math.Sin(angle)), Y: at.Y + style.Radius*vg.Length(math.Cos(angle))}
		if i == 0 {
			path.Move(corner)
		} else {
			path.Line(corner)
		}
	}
	path.Close()
	if g.full {
		c.Fill(path)
		return
	}
	c.SetLineStyle(draw.LineStyle{Color: style.Color, Width: 0.8})
	c.Stroke(path)
}

const (
	pictureWidth  = 26 * vg.Centimeter
	pictureHeight = 15 * vg.Centimeter
	margin        = 5 * vg.Millimeter
	legendWidth   = 62 * vg.Millimeter // its widest text, in a font wider by a fifth
	titleHeight   = 10 * vg.Millimeter
	smallGlyph    = vg.Length(2.5)
	largeGlyph    = vg.Length(6)
	bandStep      = 0.16 // between rows of the band, decades
	bandGap       = 1.8  // factor between the rate of one mistake and the band
)

// fontFamily is the font of the texts, and what replaces it where it is missing.
const fontFamily = "font-family:Liberation Sans,Arial,Helvetica,DejaVu Sans,sans-serif;"

// drawReplayed draws rows as SVG. streams is the number of judged streams.
func drawReplayed(out io.Writer, rows []replayed, stamps string, streams int) error {
	all := curves(rows)
	b := boundsOf(all)
	if b.slowest == 0 {
		return errors.New("-o svg: no detector had a deadline; is the recording longer than --warmup?")
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("Mistakes against detection time, left and down is better; %s observed, %s stamps", observed(b.hours), stamps)
	if streams > 1 {
		p.Title.Text += fmt.Sprintf(", %d peers or incarnations together", streams)
	}
	p.Title.Padding = 4 * vg.Millimeter
	floor := 1 / b.hours / bandGap
	p.X.Label.Text = "mean detection time T_D, ms (last send to suspicion)"
	p.Y.Label.Text = "mistakes per hour"
	p.X.Label.Padding, p.Y.Label.Padding = 2*vg.Millimeter, 2*vg.Millimeter
	p.X.Min, p.X.Max = math.Log10(b.fastest/1.3), math.Log10(b.slowest*1.3)
	p.Y.Min, p.Y.Max = math.Log10(floor)-bandStep*float64(len(all)+1), math.Log10(max(b.most*2, 10/b.hours))
	p.X.Tick.Marker = decades{steps: []float64{1, 2, 5}, least: b.fastest / 1.3}
	p.Y.Tick.Marker = decades{steps: []float64{1}, least: floor}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xd8}, color.Gray{0xd8}
	p.Add(grid)
	legend := newLegend()
	for i, c := range all {
		if err := c.add(p, &legend, math.Log10(floor)-bandStep*float64(i+1)); err != nil {
			return err
		}
	}
	p.Add(floorLine{math.Log10(floor), "below: no mistake in " + observed(b.hours)})
	styled(p)
	svg := vgsvg.New(pictureWidth, pictureHeight)
	whole := draw.New(svg)
	whole.SetColor(color.White)
	whole.Fill(whole.Path())
	inner := draw.Crop(whole, margin, -margin, margin, -margin)
	p.Draw(draw.Crop(inner, 0, -legendWidth, 0, 0))
	legend.Draw(draw.Crop(inner, pictureWidth-margin-legendWidth, 0, 0, -titleHeight))
	var text bytes.Buffer
	if _, err := svg.WriteTo(&text); err != nil {
		return err
	}
	// Without the font and a choice of others, readers take one with serifs.
	_, err := io.WriteString(out, strings.ReplaceAll(text.String(), "font-family:Liberation Sans;", fontFamily))
	return err
}

// bounds are the ranges of the axes.
type bounds struct{ fastest, slowest, most, hours float64 }

// boundsOf returns the bounds of curves.
func boundsOf(all []curve) bounds {
	b := bounds{fastest: math.Inf(1)}
	for _, c := range all {
		for _, p := range c.points {
			b.hours = max(b.hours, p.hours)
			b.most = max(b.most, p.perHour())
			if p.td > 0 {
				b.fastest, b.slowest = min(b.fastest, p.td), max(b.slowest, p.td)
			}
		}
	}
	return b
}

// perHour returns the mistake rate.
func (p *point) perHour() float64 { return float64(p.mistakes) / p.hours }

// observed formats hours as a duration.
func observed(hours float64) string {
	d := time.Duration(hours * float64(time.Hour))
	if d > 10*time.Minute {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second / 10).String()
}

// styled sets the font of all text.
func styled(p *plot.Plot) {
	sans := func(f *font.Font, size vg.Length) { f.Typeface, f.Variant, f.Size = "Liberation", "Sans", size }
	sans(&p.Title.TextStyle.Font, 14)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		sans(&a.Label.TextStyle.Font, 12)
		sans(&a.Tick.Label.Font, 11)
	}
}

// newLegend returns an empty legend.
func newLegend() plot.Legend {
	l := plot.NewLegend()
	l.Top, l.Left = true, true
	l.TextStyle.Font.Typeface, l.TextStyle.Font.Variant, l.TextStyle.Font.Size = "Liberation", "Sans", 11
	l.ThumbnailWidth = 10 * vg.Millimeter
	l.Padding = 1.5 * vg.Millimeter
	l.YPosition = draw.PosCenter
	return l
}

// floorLine is the upper edge of the band, with a text. Unlike plotter.Labels it reserves no space
// for the text.
type floorLine struct {
	at   float64
	text string
}

// Plot implements plot.Plotter.
func (f floorLine) Plot(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	c.StrokeLine2(draw.LineStyle{Color: grey, Width: 0.8, Dashes: []vg.Length{4, 3}}, c.Min.X, y(f.at), c.Max.X, y(f.at))
	style := p.X.Tick.Label
	style.Color, style.XAlign, style.YAlign = grey, draw.XRight, draw.YBottom
	// If the font is missing, another one takes up to a fifth more space.
	c.FillText(style, vg.Point{X: c.Max.X - style.Width(f.text)/5, Y: y(f.at) + 2}, f.text)
}

// dots are the points of a curve with the same glyph.
type dots struct {
	at    plotter.XYs
	glyph draw.GlyphDrawer
	size  vg.Length
}

// split returns the line through the points, their dots, and the default parameter. Points without
// a mistake lie in a row of the band; the line ends at the first of them.
func (c *curve) split(row float64) (line plotter.XYs, all []dots, standard string) {
	g := glyphs[c.name]
	all = []dots{{nil, g.full, smallGlyph}, {nil, g.hollow, smallGlyph}, {nil, g.full, largeGlyph}, {nil, g.hollow, largeGlyph}}
	for i := range c.points {
		p := &c.points[i]
		if p.td <= 0 {
			continue // suspect before the send, or never
		}
		at, kind := plotter.XY{X: math.Log10(p.td), Y: math.Log10(p.perHour())}, 0
		if p.mistakes == 0 {
			at.Y, kind = row, 1
		}
		if p.standard {
			standard = p.param
			kind += 2
		}
		all[kind].at = append(all[kind].at, at)
		if p.mistakes > 0 || len(line) > 0 && line[len(line)-1].Y != row {
			line = append(line, at)
		}
	}
	return line, all, standard
}

// add adds the curve to the plot and to the legend.
func (c *curve) add(p *plot.Plot, legend *plot.Legend, row float64) error {
	ink := palette[c.name]
	joined, all, standard := c.split(row)
	line := &plotter.Line{XYs: joined, LineStyle: draw.LineStyle{Color: ink, Width: 1.2}}
	if len(joined) > 1 {
		p.Add(line)
	}
	for _, d := range all {
		if len(d.at) == 0 {
			continue
		}
		s, err := plotter.NewScatter(d.at)
		if err != nil {
			return err
		}
		s.GlyphStyle = draw.GlyphStyle{Color: ink, Radius: d.size, Shape: d.glyph}
		p.Add(s)
	}
	name := c.name
	if standard != "" {
		name += ", default " + standard
	}
	key := &plotter.Scatter{GlyphStyle: draw.GlyphStyle{Color: ink, Radius: largeGlyph - 1, Shape: glyphs[c.name].full}}
	legend.Add(name, line, key)
	return nil
}

// decades are ticks on an axis of logarithms: at steps of each decade from least on, with the
// values as labels.
type decades struct {
	steps []float64
	least float64
}

// Ticks implements plot.Ticker.
func (d decades) Ticks(low, high float64) []plot.Tick {
	var out []plot.Tick
	for e := math.Floor(low); e <= math.Ceil(high); e++ {
		for _, s := range d.steps {
			v := s * math.Pow(10, e)
			if at := math.Log10(v); at >= low && at <= high && v >= d.least {
				out = append(out, plot.Tick{Value: at, Label: strconv.FormatFloat(v, 'f', -1, 64)})
			}
		}
	}
	return out
}
