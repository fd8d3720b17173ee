package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bttnet/btt/tracker"
)

// cmdScrape waits until a tracker counts so many seeds, leeches and finished
// downloads of a torrent file.
func cmdScrape(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 5, "scrape ANNOUNCE TORRENT COMPLETE INCOMPLETE DOWNLOADED")
	t, err := readTorrent(ts.MkAbs(args[1]))
	ts.Check(err)
	base, err := tracker.ScrapeURL(args[0], "scrape")
	ts.Check(err)
	url, err := tracker.AppendScrapeURL(nil, base, []tracker.InfoHash{t.InfoHash})
	ts.Check(err)
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollEvery) {
		got, err = scrape(string(url))
		ts.Check(err)
		if got == fmt.Sprint(args[2:]) {
			return
		}
	}
	ts.Fatalf("the tracker counts %s, want %s", got, args[2:])
}

func scrape(url string) (string, error) {
	answer, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, tracker.MaxResponse))
	if err != nil {
		return "", err
	}
	list, err := tracker.ParseScrape(body)
	if err != nil || len(list) != 1 {
		return "", fmt.Errorf("scrape: %v, %w", list, err)
	}
	return fmt.Sprint([]int{list[0].Complete, list[0].Incomplete, list[0].Downloaded}), nil
}
