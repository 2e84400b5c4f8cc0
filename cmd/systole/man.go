package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan returns the command that shows and writes the manual pages, which are made from the commands
// and their flags.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man [COMMAND | DIRECTORY]",
		Short: "show a manual page, or write all to a directory",
		Long: `man shows the manual page of systole, or of one of its commands, as man(1) does: on a terminal
by the pager in MANPAGER or PAGER, else less. If the output is no terminal, it is plain text.

With a DIRECTORY in place of a command, man writes the pages of all commands there. A directory
that does not exist yet, or has the name of a command, is given with a slash: ./DIRECTORY.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if len(args) == 0 {
				return showPage(cmd.OutOrStdout(), root)
			}
			if page, _, err := root.Find(args); err == nil && page != root {
				return showPage(cmd.OutOrStdout(), page)
			}
			if _, err := os.Stat(args[0]); err != nil && !strings.Contains(args[0], "/") {
				return fmt.Errorf("no command and no directory is called %q; to make a directory write ./%s", args[0], args[0])
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return doc.GenManTree(root, manHeader(), args[0])
		},
	}
}

// manHeader returns the header of the manual pages.
func manHeader() *doc.GenManHeader {
	return &doc.GenManHeader{Title: "SYSTOLE", Section: "1", Source: "systole", Manual: "Systole"}
}

// showPage shows the page of a command: by man(1) on a terminal, as text if there is no man(1) or no
// terminal.
func showPage(out io.Writer, page *cobra.Command) error {
	terminal := terminalOf(out)
	if terminal == nil {
		return writePage(out, page)
	}
	var roff, text bytes.Buffer
	if err := doc.GenMan(page, manHeader(), &roff); err != nil {
		return err
	}
	if path, err := exec.LookPath("man"); err == nil {
		if runPager(terminal, &roff, path, "-l", "-") == nil {
			return nil
		}
	}
	if err := writePage(&text, page); err != nil {
		return err
	}
	shown := text.String()
	for _, pager := range []string{os.Getenv("MANPAGER"), os.Getenv("PAGER"), "less"} {
		if pager != "" && runPager(terminal, strings.NewReader(shown), "sh", "-c", pager) == nil {
			return nil
		}
	}
	_, err := io.WriteString(out, shown)
	return err
}

// runPager runs a program that reads a page and writes to the terminal.
func runPager(terminal *os.File, page io.Reader, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout = page, terminal
	return cmd.Run()
}

// writePage writes the page of a command as plain text.
func writePage(out io.Writer, page *cobra.Command) error {
	long := page.Long
	if long == "" {
		long = page.Short
	}
	sections := []struct{ title, text string }{
		{"NAME", page.CommandPath() + " - " + page.Short},
		{"SYNOPSIS", synopsis(page)},
		{"DESCRIPTION", long},
		{"OPTIONS", page.NonInheritedFlags().FlagUsagesWrapped(100)},
		{"COMMANDS", commandList(page)},
	}
	for _, s := range sections {
		text := strings.Trim(s.text, "\n")
		if text == "" {
			continue
		}
		if s.title != "OPTIONS" && s.title != "COMMANDS" { // these are indented
			text = strings.ReplaceAll("  "+strings.ReplaceAll(text, "\n", "\n  "), "\n  \n", "\n\n")
		}
		if _, err := fmt.Fprintf(out, "%s\n%s\n\n", s.title, text); err != nil {
			return err
		}
	}
	return nil
}

// synopsis returns how page is called.
func synopsis(page *cobra.Command) string {
	if page.HasAvailableSubCommands() {
		return page.CommandPath() + " COMMAND"
	}
	return page.UseLine()
}

// commandList returns a line for each command below page.
func commandList(page *cobra.Command) string {
	var b strings.Builder
	for _, c := range page.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %-12s %s\n", c.Name(), c.Short)
		}
	}
	return b.String()
}

// version returns what --version prints after the name: the version of the module or the revision it
// was built from, and that of Go.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown origin, " + runtime.Version()
	}
	return versionOf(info)
}

// versionOf returns the version in info.
func versionOf(info *debug.BuildInfo) string {
	setting := func(key string) string {
		for _, s := range info.Settings {
			if s.Key == key {
				return s.Value
			}
		}
		return ""
	}
	parts := []string{info.Main.Version}
	if info.Main.Version == "" || info.Main.Version == "(devel)" {
		parts[0] = "without a version"
	}
	if revision := setting("vcs.revision"); revision != "" {
		text := "revision " + revision[:min(len(revision), 12)] + " of " + setting("vcs.time")
		if setting("vcs.modified") == "true" {
			text += ", modified"
		}
		parts = append(parts, text)
	}
	return strings.Join(append(parts, info.GoVersion, runtime.GOOS+"/"+runtime.GOARCH), ", ")
}
