package metainfo

import (
	"crypto/sha1"
	"reflect"
	"testing"
	"time"
)

// buildV1 makes a version 1 torrent over made-up hashes.
func buildV1(t testing.TB, b Builder) *Torrent {
	t.Helper()
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var pieces []byte
	for i := range l.NumPieces {
		h := sha1.Sum([]byte{byte(i), byte(i >> 8)})
		pieces = append(pieces, h[:]...)
	}
	torrent, err := b.Build(Hashes{Pieces: pieces})
	if err != nil {
		t.Fatal(err)
	}
	return torrent
}

func TestBuildParseRoundTripV1(t *testing.T) {
	for name, b := range map[string]Builder{
		"single": {Name: "a.bin", SingleFile: true, Files: []BuildFile{{Length: 100_000}}},
		"multi": {
			Name: "folder", PieceLength: 32 << 10, Private: true, Source: "TRK",
			Files: []BuildFile{
				{Path: []string{"z", "b.txt"}, Length: 5},
				{Path: []string{"a.txt"}, Length: 70_000, Attr: AttrExecutable},
				{Path: []string{"empty"}},
			},
			AnnounceList: [][]string{{"http://a.example/announce", "udp://b.example:80"}, {"https://c.example/x?y=1"}},
			WebSeeds:     []string{"https://seed.example/files/"}, HTTPSeeds: []string{"http://h.example/s"},
			Nodes:   []HostPort{{"router.example", 6881}, {"2001:db8::1", 1}},
			Comment: "ü", CreatedBy: "btt", CreationDate: time.Unix(1_700_000_000, 0).UTC(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := buildV1(t, b)
			got, err := Parse(want.Encode())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.Info, want, want.Info)
			}
		})
	}
}
