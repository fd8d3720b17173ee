package main

import (
	"strings"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
)

func TestReserveFlags(t *testing.T) {
	const one = amount.Price(amount.BTT)
	for _, tt := range []struct {
		name                 string
		reserve, growth, cap string
		want                 btt.SpeedConfig
		err                  string
	}{
		{name: "nothing"},
		{name: "fixed", reserve: "2 BTT/GiB", want: btt.SpeedConfig{Reserve: 2 * one}},
		{name: "a day", growth: "1 BTT/GiB/day", want: btt.SpeedConfig{ReserveGrowth: one}},
		{name: "a day is meant", growth: "1 BTT/GiB", cap: "10 BTT/GiB", want: btt.SpeedConfig{ReserveGrowth: one, ReserveCap: 10 * one}},
		{name: "an hour", growth: "0.5 BTT/GiB/hour", want: btt.SpeedConfig{ReserveGrowth: 12 * one}},
		{name: "a minute", growth: "1 BTT/MiB/minute", want: btt.SpeedConfig{ReserveGrowth: 1024 * 1440 * one}},
		{name: "both", reserve: "1 BTT/GiB", growth: "1 BTT/GiB/day", err: "--reserve-growth"},
		{name: "a cap of a fixed price", reserve: "1 BTT/GiB", cap: "2 BTT/GiB", err: "--reserve-cap needs"},
		{name: "another time", growth: "1 BTT/GiB/week", err: "--reserve-growth"},
		{name: "no price", growth: "much", err: "--reserve-growth"},
		{name: "no cap", growth: "1 BTT/GiB/day", cap: "much", err: "--reserve-cap"},
		{name: "no fixed price", reserve: "much", err: "--reserve"},
		{name: "too fast", growth: "900000000000 BTT/GiB/minute", err: "faster"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got btt.SpeedConfig
			f := transfer{reserve: tt.reserve, growth: tt.growth, resCap: tt.cap}
			err := f.reserves(&got)
			switch {
			case tt.err == "" && (err != nil || got != tt.want):
				t.Errorf("got %+v, %v", got, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got error %v", err)
			}
		})
	}
}
